-- What time can go into. Of several things that go on at once, the one with the lowest place counts.
SELECT *
FROM (VALUES
    (1, 'removed', 'no longer part of the run'),
    (2, 'start_buffer', 'start buffer'),
    (3, 'barrier', 'ready, waiting for other VMs'),
    (4, 'failed', 'failed'),
    (5, 'running', 'running programs'),
    (6, 'copies', 'copying files out'),
    (7, 'launch', 'launching, recording ends'),
    (8, 'reboot', 'rebooting'),
    (9, 'agent', 'waiting on the agent'),
    (10, 'schedule', 'waiting for a schedule'),
    (11, 'handler', 'waiting for a handler'),
    (12, 'preparing', 'before it was added'),
    (13, 'pause', 'paused'),
    (14, 'retry', 'between two attempts'),
    (15, 'files', 'putting files in'),
    (16, 'late', 'due, not launched yet'),
    (98, 'idle', 'nothing was due'),
    (99, 'unaccounted', 'unaccounted')
) AS kinds(place, kind, title)
ORDER BY place
