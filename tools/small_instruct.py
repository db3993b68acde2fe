"""A small InstructPix2Pix without training, and pairs of images to train it on: edits that a program can make.

    pip install torch diffusers transformers tokenizers safetensors pillow numpy
    python3 tools/small_instruct.py IMAGES AUTOENCODER OUT [--side 32]

IMAGES is a folder of images, AUTOENCODER a small one in diffusers' layout, such as tools/train_tiny_autoencoder.py makes. OUT gets

- `train` and `test`, each a metadata.jsonl with `file_name` (after the edit), `before` and `text` (the instruction); every tenth image is
  held out with all its edits;
- `model`, a folder in the layout of StableDiffusionInstructPix2PixPipeline: a U-Net with 8 input channels for 4 latent ones and a text
  encoder of CLIP's kind, both with random weights. The text encoder stays as it is: what it makes of the few instructions is
  different enough.

`fewstep distill` with `method = "denoising"` then makes a teacher of it: recipes/text-to-image/instruct-teacher.toml.
"""
import argparse
import json
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
from PIL import Image, ImageOps
from transformers import CLIPTextConfig, CLIPTextModel

sys.path.insert(0, str(Path(__file__).parent / "golden"))
from latent import SD1, tokenizer  # noqa: E402

RED, BLUE = (1.0, 0.25, 0.25), (0.25, 0.35, 1.0)
LENGTH, WIDTH = 16, 64


def tinted(colour):
    """Every colour of an image becomes a shade of one; white stays white."""
    def edit(image):
        grey = ImageOps.grayscale(image)
        return Image.merge("RGB", [grey.point(lambda v, c=c: int(255 * c + v * (1 - c)) if c < 1 else 255) for c in colour])
    return edit


EDITS = {
    "turn it upside down": ImageOps.flip,
    "make it red": tinted(RED),
    "make it blue": tinted(BLUE),
    "make it grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "invert the colours": ImageOps.invert,
}


def on_white(path, side):
    image = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB").resize([side, side], Image.LANCZOS)


def pairs(images, out, side):
    paths = sorted(path for path in images.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".webp"})
    for part in ["train", "test"]:
        chosen = [path for number, path in enumerate(paths) if (number % 10 == 0) == (part == "test")]
        folder = out / part
        (folder / "images").mkdir(parents=True)
        lines = []
        for number, path in enumerate(chosen):
            before = on_white(path, side)
            before.save(folder / f"images/{number}.png")
            for kind, (text, edit) in enumerate(EDITS.items()):
                name = f"images/{number}-{kind}.png"
                edit(before).save(folder / name)
                lines.append({"file_name": name, "before": f"images/{number}.png", "text": text})
        (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        print(f"{part}: {len(lines)} edits of {len(chosen)} images")


def model(autoencoder, out, side):
    torch.manual_seed(0)
    vae = AutoencoderTiny.from_pretrained(autoencoder)
    latent = vae.config.latent_channels
    factor = 2 ** (len(vae.config.encoder_block_out_channels) - 1)
    words = tokenizer("<|endoftext|>")
    words.model_max_length = LENGTH
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=LENGTH, bos_token_id=len(words) - 2, eos_token_id=len(words) - 1, pad_token_id=words.pad_token_id)
    unet = UNet2DConditionModel(
        sample_size=side // factor, in_channels=2 * latent, out_channels=latent, block_out_channels=[64, 128], layers_per_block=1,
        down_block_types=["CrossAttnDownBlock2D"] * 2, up_block_types=["CrossAttnUpBlock2D"] * 2, attention_head_dim=4,
        norm_num_groups=16, cross_attention_dim=WIDTH)
    pipe = StableDiffusionInstructPix2PixPipeline(
        vae=vae, text_encoder=CLIPTextModel(config), tokenizer=words, unet=unet, scheduler=DDIMScheduler(**SD1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.save_pretrained(out / "model")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("autoencoder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=32)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pairs(args.images, args.out, args.side)
    model(args.autoencoder, args.out, args.side)


if __name__ == "__main__":
    main()
