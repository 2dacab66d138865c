"""What the spool's operations do in a guest: one suite for the scripts in a real shell and for their simulation."""

from __future__ import annotations

import asyncio

import pytest

from tests.agent.agent_contract import EVERY_BYTE, eventually, wait_for_exit
from tests.agent.backends import Backend
from vmr import spool
from vmr.agent import GuestAgent
from vmr.agent_messages import ExecStatus
from vmr.errors import AgentError, DataError
from vmr.schedule import Entry


async def run(agent: GuestAgent, command: spool.Command) -> ExecStatus:
    """Carry out one command of the spool."""
    return await agent.run(command.path, command.arguments, timeout=20)


async def put_script(agent: GuestAgent, directory: str, executable: str, arguments: str = "") -> None:
    """Put an entry's call script in place."""
    text = spool.call_script(Entry(id="x", start_time=1, executable=executable, arguments=arguments))
    status = await run(agent, spool.install([spool.Install(f"{directory}/{spool.CALL_SCRIPT_NAME}", text)]))
    assert status.exit_code == 0


async def launch(agent: GuestAgent, directory: str, attempt: int = 1) -> spool.LaunchReply:
    """Launch an attempt and return what it said."""
    status = await run(agent, spool.launch(directory, attempt))
    return spool.parse_launch(status.stdout, status.stderr)


async def probe(agent: GuestAgent, *attempts: tuple[str, int]) -> list[spool.Probe]:
    """Probe attempts."""
    return spool.parse_probe((await run(agent, spool.probe(list(attempts)))).stdout, len(attempts))


@pytest.fixture
def directory(backend: Backend) -> str:
    """Return a working directory that does not exist yet."""
    return f"{backend.files}/1/a program"


class SpoolContract:
    """The suite; a subclass gives the fixtures ``backend`` and ``agent`` (connected)."""

    async def test_an_attempt_is_recorded(self, agent: GuestAgent, directory: str) -> None:
        """Output and exit code are in the reply and in the attempt's files, with links to the latest attempt."""
        await put_script(agent, directory, "echo", "hi; echo e >&2; exit 3")
        reply = await launch(agent, directory)
        assert isinstance(reply.outcome, spool.Finished)
        assert (reply.outcome.exit_code, reply.outcome.reboot) == (3, False)
        assert 0 <= reply.outcome.duration < 5
        assert (reply.stdout, reply.stderr) == (b"hi\n", b"e\n")
        for name, content in (("stdout", b"hi\n"), ("stderr", b"e\n")):
            assert await agent.read_file(spool.attempt_file(directory, 1, name)) == content
            assert await agent.read_file(f"{directory}/{name}") == content
        code, times = (await agent.read_file(f"{directory}/exit_code")).splitlines()
        assert code == b"3"
        assert times.split()[0] == b"0"
        assert len((await agent.read_file(spool.attempt_file(directory, 1, "running"))).split()) == 3

    async def test_an_attempt_runs_once(self, agent: GuestAgent, directory: str) -> None:
        """The second launch of an attempt says so and does nothing; the next attempt runs."""
        await put_script(agent, directory, "echo", "hi")
        first = await launch(agent, directory)
        before = await agent.read_file(f"{directory}/exit_code")
        assert (await launch(agent, directory)).outcome == "again"
        assert await agent.read_file(f"{directory}/exit_code") == before
        assert isinstance((await launch(agent, directory, 2)).outcome, spool.Finished)
        assert await probe(agent, (directory, 1), (directory, 3)) == [first.outcome, "absent"]

    async def test_what_cannot_be_launched(self, agent: GuestAgent, backend: Backend, directory: str) -> None:
        """An attempt that cannot be claimed is refused; a script that is not there says nothing of the protocol."""
        with pytest.raises(DataError):
            await launch(agent, directory)
        await put_script(agent, directory, "echo", "hi")
        await agent.write_file(f"{directory}/attempt-1", b"")
        assert (await launch(agent, directory)).outcome == "refused"
        assert await probe(agent, (directory, 1)) == ["absent"]

    async def test_a_killed_program(self, agent: GuestAgent, directory: str) -> None:
        """A signal is recorded as 128 and its number, as shells do."""
        await put_script(agent, directory, "kill", "-9 $$")
        reply = await launch(agent, directory)
        assert isinstance(reply.outcome, spool.Finished)
        assert reply.outcome.exit_code == 137

    async def test_a_program_may_ask_for_a_reboot(self, agent: GuestAgent, directory: str) -> None:
        """The file ``reboot`` is seen at the end, and an old one is removed at the begin."""
        await put_script(agent, directory, "touch", "reboot")
        reply = await launch(agent, directory)
        assert isinstance(reply.outcome, spool.Finished)
        assert reply.outcome.reboot
        other = f"{directory} 2"
        await put_script(agent, other, "echo", "hi")
        await agent.write_file(f"{other}/reboot", b"")
        reply = await launch(agent, other)
        assert isinstance(reply.outcome, spool.Finished)
        assert not reply.outcome.reboot

    async def test_output_can_be_read_while_it_is_written(self, agent: GuestAgent, directory: str) -> None:
        """A running attempt is seen as running, its first lines are in its file, the rest follows."""
        await put_script(agent, directory, "echo", "one; sleep 1; echo two")
        command = spool.launch(directory, 1)
        pid = await agent.exec(command.path, command.arguments)
        path = spool.attempt_file(directory, 1, "stdout")

        async def begun() -> bool:
            try:
                return await probe(agent, (directory, 1)) == ["running"] and await agent.read_file(path) == b"one\n"
            except AgentError:  # the attempt is claimed and its files are still to come
                return False

        await eventually(begun)
        assert not (await agent.exec_status(pid)).exited
        status = await wait_for_exit(agent, pid)
        assert spool.parse_launch(status.stdout, status.stderr).stdout == b"one\ntwo\n"
        assert await agent.read_file(path, offset=4) == b"two\n"

    async def test_long_output_is_in_the_file(self, agent: GuestAgent, directory: str) -> None:
        """The reply holds its first bytes, the file all."""
        await put_script(agent, directory, "head", "-c 200000 /dev/zero")
        reply = await launch(agent, directory)
        assert reply.stdout == bytes(spool.INLINE_OUTPUT)
        assert await agent.read_file(f"{directory}/stdout") == bytes(200_000)

    async def test_a_claim_without_a_program(self, agent: GuestAgent, directory: str) -> None:
        """A claimed attempt that has not begun is told apart from one that died."""
        await run(agent, spool.mkdir(f"{directory}/attempt-1", f"{directory}/attempt-2"))
        await agent.write_file(spool.attempt_file(directory, 2, "running"), b"999999 another-boot 1.00\n")
        assert await probe(agent, (directory, 1), (directory, 2)) == ["claimed", "dead"]

    async def test_files_are_put_in_place(self, agent: GuestAgent, backend: Backend) -> None:
        """Text and uploads, with their folders; what exists stays; what fails is told by number."""
        base = backend.files
        await agent.write_file(f"{base}/upload", EVERY_BYTE)
        await agent.write_file(f"{base}/existing", b"old")
        files = [
            spool.Install(f"{base}/new/deep/text", "a 'b' $c\n%s\\n"),
            spool.Install(f"{base}/existing", "new"),
            spool.Install(f"{base}/existing/below", "x"),
            spool.Install(f"{base}/new/binary", uploaded=f"{base}/upload", executable=True),
            spool.Install(f"{base}/none", uploaded=f"{base}/no-upload"),
        ]
        status = await run(agent, spool.install(files))
        assert spool.parse_failed_installs(status.stdout, len(files)) == [2, 4]
        assert status.exit_code == 1
        assert await agent.read_file(f"{base}/new/deep/text") == b"a 'b' $c\n%s\\n"
        assert await agent.read_file(f"{base}/existing") == b"old"
        assert await agent.read_file(f"{base}/new/binary") == EVERY_BYTE
        names = [file.path for file in await self.listed(agent, base)]
        assert names == [f"{base}/existing", f"{base}/new/binary", f"{base}/new/deep/text"]

    async def test_two_installations_of_the_same_files_do_not_disturb_each_other(
        self, agent: GuestAgent, backend: Backend
    ) -> None:
        """A handler that was killed leaves its own running, and the next one begins the same: both put everything in place."""
        for number in range(4):
            base = f"{backend.files}/twice-{number}"
            files = [spool.Install(f"{base}/{n}/call_arguments.sh", "true\n" * 50, executable=True) for n in range(60)]
            done = await asyncio.gather(*(run(agent, spool.install(files)) for _ in range(2)))
            assert [(status.exit_code, status.stdout) for status in done] == [(0, b"")] * 2
            names = [file.path for file in await self.listed(agent, base)]
            assert sorted(names) == sorted(file.target for file in files)

    async def test_files_are_listed(self, agent: GuestAgent, backend: Backend) -> None:
        """A path, a folder and a pattern; hidden files only where the pattern names them; sizes and times."""
        base = backend.files
        for name in ("a b", "b.log", ".hidden", "c*d"):
            await agent.write_file(f"{base}/{name}", name.encode())
        listed = await self.listed(agent, f"{base}/a b")
        assert [(file.path, file.size) for file in listed] == [(f"{base}/a b", 3)]
        assert abs(listed[0].modified - await agent.get_time() / 1e9) < 5
        assert [file.path for file in await self.listed(agent, f"{base}/*b*")] == [f"{base}/a b", f"{base}/b.log"]
        assert len(await self.listed(agent, base)) == 4
        assert len(await self.listed(agent, f"{base}/*")) == 3
        assert await self.listed(agent, f"{base}/none*") == []

    async def test_folders_are_made(self, agent: GuestAgent, backend: Backend) -> None:
        """Parents and all, as often as one likes; a file in the way is an error."""
        for _ in range(2):
            assert (await run(agent, spool.mkdir(f"{backend.files}/a/b/c", f"{backend.files}/d"))).exit_code == 0
        await agent.write_file(f"{backend.files}/a/b/c/file", b"")
        assert (await run(agent, spool.mkdir(f"{backend.files}/a/b/c/file"))).exit_code == 1

    @staticmethod
    async def listed(agent: GuestAgent, pattern: str) -> list[spool.GuestFile]:
        """List files, sorted by path."""
        found = spool.parse_list((await run(agent, spool.list_files(pattern))).stdout)
        return sorted(found, key=lambda file: file.path)
