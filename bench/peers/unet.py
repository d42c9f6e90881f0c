"""The UNet of diffusers on PyTorch in a race of bench/compare.

unet.py FOLDER: FOLDER is one of shape_sd15.py. Passes a second over two latents in float32, for each line `go`.
"""

import sys
import time
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file


def main():
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) / "unet"
    with torch.device("meta"):
        model = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder))
    weights = load_file(folder / "diffusion_pytorch_model.fp16.safetensors")
    for name in list(weights):
        weights[name] = weights[name].float()
    model.load_state_dict(weights, assign=True)
    model.eval()
    # The numbers that ours has.
    latents = torch.arange(2 * 4 * 64 * 64).reshape(2, 4, 64, 64).mul(0.7).sin()
    prompt = torch.arange(2 * 77 * 768).reshape(2, 77, 768).mul(0.3).sin()

    @torch.inference_mode()
    def run():
        return model(latents, torch.tensor([500]), prompt).sample

    print(run().flatten()[:4].tolist(), file=sys.stderr)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            break
        start = time.perf_counter()
        run()
        print(1 / (time.perf_counter() - start), flush=True)


main()
