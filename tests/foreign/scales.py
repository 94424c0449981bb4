# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Verify a log by the package tlog-scales, in an environment of its own.

``python scales.py FOLDER VKEY [OLD-CHECKPOINT...]``"""
import sys
from pathlib import Path

from tlog_scales import tiles
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.tlog import Checkpoint

folder, vkey, *olds = sys.argv[1:]
vkey = Vkey.from_string(vkey)
reader = TilesReader(LocalBackend(Path(folder)))
checkpoint = reader.get_checkpoint()
checkpoint.verify(vkey)
assert reader.calculate_root_hash() == checkpoint.root_hash, "other root"
for index in range(checkpoint.size):
    reader.get_inclusion_proof(index, checkpoint.size).check(
        tiles.leaf_hash(reader.get_entry(index)), checkpoint.root_hash)
for path in olds:
    old = Checkpoint.from_text(Path(path).read_text())
    old.verify(vkey)
    reader.get_consistency_proof(old.size, checkpoint.size).check(
        old.root_hash, checkpoint.root_hash)
print(f"{checkpoint.size} records, {len(olds)} checkpoints")
