"""What was recorded, once more: its events as an iterator, at their own pace, onto subjects, and as proof that the record is whole.

- `vmr.replay.events_of`: the typed events of a run, of the log or of a file, one after another (`vmr.events_of`).
- `vmr.replay.timing`, `vmr.replay.player`: when each event is due again, and who tells it then (`vmr replay`).
- `vmr.replay.verify`, `vmr.replay.seal`: whether the record still says what it said when the run ended (`vmr replay --verify`).
- `vmr.replay.rerun`: a new run from the record of another (`vmr rerun`).
"""
