"""The meter at every step of two ranks, under torch.distributed.run.

Writes its row to the path given.
"""

import json
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks.accumulating import AccumulatingLoop
from benchmarks.row import compare


def main(path: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    loops = [
        AccumulatingLoop(is_metered=metered, wrap=DistributedDataParallel, passes=1)
        for metered in (True, False)
    ]
    for loop in loops:
        loop.step()
    row = compare(
        "noise-ranks",
        module="noise",
        what="a step of stdlib-lm on 2 ranks of 4,096 tokens, NoiseMeter at every step",
        against="the same step without",
        unit="s",
        ours=loops[0].step,
        theirs=loops[1].step,
        pairs=200,
    )
    if distributed.get_rank() == 0:
        path.write_text(json.dumps(row.to_dict()))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
