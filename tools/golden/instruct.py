"""Golden numbers of editing by instruction: a tiny random InstructPix2Pix in diffusers' folders, with its outputs beside it.

    pip install torch diffusers transformers safetensors
    python3 tools/golden/instruct.py        # writes crates/formats/tests/golden/latent/instruct/

`edit.latents` and `edit.image` are the last latents and the decoded image of the whole pipeline with both guidances, DDIM and 5
steps, from the noise `edit.start`; `edit.concat` is what it gives the U-Net next to the latents.
"""
import torch
from diffusers import DDIMScheduler, StableDiffusionInstructPix2PixPipeline

from latent import NEGATIVE, PROMPT, SD1, autoencoder, latents, modules, pipeline, text_encoder, tokenizer, unet, write

TEXT_SCALE, IMAGE_SCALE, STEPS = 4.0, 1.7, 5


@torch.no_grad()
def edit(pipe):
    generator = torch.Generator().manual_seed(7)
    source = torch.randint(0, 256, (1, 3, 16, 16), generator=generator).float()
    pipe.set_progress_bar_config(disable=True)
    seen, forward = [], pipe.unet.forward
    pipe.unet.forward = lambda z, *a, **k: seen.append(z[:, 4:].clone()) or forward(z, *a, **k)
    arguments = dict(image=source / 255, negative_prompt=NEGATIVE, guidance_scale=TEXT_SCALE, image_guidance_scale=IMAGE_SCALE,
                     num_inference_steps=STEPS, latents=latents(6))
    last = pipe(PROMPT, output_type="latent", **arguments).images
    image = pipe(PROMPT, output_type="pt", **arguments).images
    pipe.unet.forward = forward
    return {"edit.source": source, "edit.start": latents(6), "edit.concat": seen[0], "edit.latents": last, "edit.image": image}


@torch.no_grad()
def network(dtype):
    """A random network that listens to its source image and its prompt more than one of such small weights would."""
    net = unet(dtype, in_channels=8)
    net.conv_in.weight[:, 4:] *= 8
    for name, weight in net.named_parameters():
        if "attn2" in name:
            weight *= 8
    return net.to(dtype).float()


def main():
    torch.manual_seed(0)
    half, words = torch.float16, tokenizer("<|endoftext|>")
    pipe = pipeline(StableDiffusionInstructPix2PixPipeline, autoencoder(half), words, text_encoder(words, "quick_gelu", half),
                    network(half), DDIMScheduler(**SD1))
    write("instruct", pipe, modules(pipe, beside=4) | edit(pipe), half)


if __name__ == "__main__":
    main()
