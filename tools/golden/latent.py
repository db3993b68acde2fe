"""Golden numbers of latent diffusion: tiny random models in diffusers' folders, with their outputs beside them.

    pip install torch diffusers transformers safetensors
    python3 tools/golden/latent.py          # writes crates/formats/tests/golden/latent/

Every folder is what `save_pretrained` writes. `golden.safetensors` holds inputs and outputs, `golden.json` texts and
tokens. Weights are rounded to the 16-bit floats that the files store before anything is computed in 32 bits.
"""
import json
import shutil
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers import DPMSolverMultistepScheduler, StableDiffusionInpaintPipeline, UniPCMultistepScheduler
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

OUT = Path(__file__).parents[2] / "crates/formats/tests/golden/latent"
VERSIONS = f"diffusers {diffusers.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
TEXT = 12
CORPUS = ["a photograph of an orange cat", "an oil painting of a lighthouse by the sea", "grinning face with big eyes",
          "the cat's house, 1990s style!", "two cats and three dogs"]
PROMPTS = ["", "a photo of a cat", "An  OIL painting of   the cat's lighthouse, 1990s!", "naïve café 猫 🙂 Ünder STRAẞE don't 3½ x²",
           "cat!!! <|endoftext|> a-b_c <|STARTOFTEXT|>\t\n dog's...", "Å Å ﬁ Ⅷ İstanbul \u200b\u00ad!",
           " ".join(["a cat and a dog"] * 12)]
PROMPT, NEGATIVE = "a photograph of the cat", "dogs"


def randomise(model, dtype):
    for p in model.parameters():                     # nothing at its special initial value
        torch.nn.init.normal_(p, std=0.2)
    return model.to(dtype).float().eval()


def tokenizer(pad):
    """A byte-pair vocabulary of CLIP's kind, trained on a few sentences."""
    raw = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=620, end_of_word_suffix="</w>", initial_alphabet=alphabet)
    raw.train_from_iterator(CORPUS, trainer)
    merges = [tuple(m) for m in json.loads(raw.to_str())["model"]["merges"]]
    # CLIP's order: bytes, bytes that end a word, merges, start and end.
    words = alphabet + [c + "</w>" for c in alphabet] + ["".join(m) for m in merges]
    words = list(dict.fromkeys(words)) + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=merges, pad_token=pad, model_max_length=77)


def text_encoder(tokens, act, dtype):
    config = CLIPTextConfig(vocab_size=len(tokens), hidden_size=TEXT, intermediate_size=20, num_hidden_layers=2,
                            num_attention_heads=2, hidden_act=act, bos_token_id=len(tokens) - 2,
                            eos_token_id=len(tokens) - 1, pad_token_id=tokens.pad_token_id)
    return randomise(CLIPTextModel(config), dtype)


def unet(dtype, **changes):
    config = dict(sample_size=8, in_channels=4, out_channels=4, block_out_channels=[8, 16], layers_per_block=1,
                  down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
                  up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"], attention_head_dim=2, norm_num_groups=4,
                  cross_attention_dim=TEXT)
    return randomise(UNet2DConditionModel(**{**config, **changes}), dtype)


def autoencoder(dtype):
    return randomise(AutoencoderKL(
        block_out_channels=[8, 8], layers_per_block=1, norm_num_groups=4, sample_size=16, latent_channels=4,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2), dtype)


SD1 = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, set_alpha_to_one=False,
           clip_sample=False)
SCHEDULERS = {"ddim": DDIMScheduler, "dpm-solver++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}


def latents(seed, count=1):
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def modules(pipe, beside=0):
    """Each network on its own."""
    z, time = latents(1, 2), torch.tensor([981.0, 20.0])
    states = torch.randn(2, 5, TEXT, generator=torch.Generator().manual_seed(2))
    more = torch.randn(2, beside, 8, 8, generator=torch.Generator().manual_seed(3))
    golden = {"unet.z": z, "unet.time": time, "unet.states": states, "unet.concat": more}
    golden["unet.output"] = pipe.unet(torch.cat([z, more], 1), time, states).sample
    ids = pipe.tokenizer(PROMPTS[:3], padding="max_length", truncation=True, return_tensors="pt").input_ids
    golden["text.states"] = pipe.text_encoder(ids)[0]
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(4)).clamp(-1, 1)
    encoded = pipe.vae.encode(image)
    if hasattr(encoded, "latent_dist"):
        golden |= {"vae.mean": encoded.latent_dist.mean, "vae.log_variance": encoded.latent_dist.logvar}
    else:
        golden["vae.mean"] = encoded.latents
    golden |= {"vae.image": image, "vae.decoded": pipe.vae.decode(z).sample}
    return golden


@torch.no_grad()
def tiled(vae):
    """Tiles of 6 positions, a quarter of each over its neighbour."""
    z = torch.randn(1, 4, 10, 13, generator=torch.Generator().manual_seed(5))
    vae.enable_tiling()
    vae.tile_latent_min_size, vae.tile_sample_min_size, vae.tile_overlap_factor = 6, 12, 0.25
    decoded = vae.decode(z).sample
    vae.disable_tiling()
    return {"tiled.z": z, "tiled.decoded": decoded}


@torch.no_grad()
def filling(pipe):
    """What the inpainting pipeline gives the U-Net next to its latents; means instead of random latents."""
    generator = torch.Generator().manual_seed(7)
    image = torch.randint(0, 256, (1, 3, 16, 16), generator=generator).float()
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:11, 3:12] = 1
    masked = (image / 127.5 - 1) * (mask < 0.5)
    encode = pipe.vae.encode

    def certain(x):
        encoded = encode(x)
        encoded.latent_dist.sample = lambda generator=None: encoded.latent_dist.mean
        return encoded

    pipe.vae.encode = certain
    mask_latents, latents = pipe.prepare_mask_latents(mask, masked, 1, 16, 16, torch.float32, "cpu", None, False)
    pipe.vae.encode = encode
    return {"fill.image": image, "fill.mask": mask * 255, "fill.concat": torch.cat([mask_latents, latents], 1)}


def steps(pipe, name, scheduler, **arguments):
    """Latents after every step of a whole pipeline, and the image."""
    pipe.scheduler, seen = scheduler, []
    pipe.set_progress_bar_config(disable=True)
    image = pipe(PROMPT, negative_prompt=NEGATIVE, guidance_scale=4.0, output_type="pt", latents=latents(6),
                   callback_on_step_end=lambda p, i, t, k: seen.append(k["latents"].clone()) or k, **arguments).images
    timesteps = scheduler.timesteps.float()
    return {f"{name}.latents": torch.cat(seen), f"{name}.image": image, f"{name}.timesteps": timesteps}


def all_schedulers(pipe):
    """DDIM's linspace is left out: diffusers steps to t - 1000 / N there, which is not its next timestep. With 5 steps
    its other spacings have no such gap."""
    golden = {"start": latents(6)}
    for name, kind in SCHEDULERS.items():
        for spacing in ("leading", "trailing", "linspace"):
            if (name, spacing) == ("ddim", "linspace"):
                continue
            scheduler = kind.from_config(pipe.scheduler.config, timestep_spacing=spacing)
            golden |= steps(pipe, f"{name}/{spacing}", scheduler, num_inference_steps=5)
    return golden


def write(name, pipe, golden, dtype, **options):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        part.to(dtype)
    pipe.save_pretrained(folder, **options)
    vocabulary = folder / "tokenizer"
    fast = json.loads((vocabulary / "tokenizer.json").read_text())["model"]
    if name == "sd1":                                # as older folders have it
        (vocabulary / "tokenizer.json").unlink()
        (vocabulary / "vocab.json").write_text(json.dumps(fast["vocab"], ensure_ascii=False))
        merges = "\n".join(" ".join(m) for m in fast["merges"])
        (vocabulary / "merges.txt").write_text("#version: 0.2\n" + merges + "\n")
    save_file({k: v.detach().float().contiguous() for k, v in golden.items()}, folder / "golden.safetensors",
              {"made_by": VERSIONS})
    tokens = pipe.tokenizer(PROMPTS, padding="max_length", truncation=True).input_ids
    text = {"prompts": PROMPTS, "tokens": tokens, "prompt": PROMPT, "negative": NEGATIVE, "guidance_scale": 4.0}
    (folder / "golden.json").write_text(json.dumps(text, ensure_ascii=False) + "\n")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(name, size, {k: round(float(v.std()), 3) for k, v in golden.items() if k.endswith(("output", "image"))})


def pipeline(kind, vae, tokens, text, net, scheduler):
    return kind(vae=vae, text_encoder=text, tokenizer=tokens, unet=net, scheduler=scheduler, safety_checker=None,
                feature_extractor=None, requires_safety_checker=False)


def main():
    torch.manual_seed(0)
    half, brain, full = torch.float16, torch.bfloat16, torch.float32
    words = tokenizer("<|endoftext|>")

    pipe = pipeline(StableDiffusionPipeline, autoencoder(half), words, text_encoder(words, "quick_gelu", half),
                    unet(half), DDIMScheduler(**SD1))
    golden = modules(pipe) | tiled(pipe.vae) | all_schedulers(pipe)
    pipe.scheduler = diffusers.PNDMScheduler(skip_prk_steps=True, **{k: v for k, v in SD1.items() if k != "clip_sample"})
    write("sd1", pipe, golden, half, variant="fp16")

    words = tokenizer("!")
    two = dict(use_linear_projection=True, attention_head_dim=[2, 4])
    scheduler = DDIMScheduler(**SD1 | dict(prediction_type="v_prediction", rescale_betas_zero_snr=True,
                                           timestep_spacing="trailing"))
    pipe = pipeline(StableDiffusionPipeline, autoencoder(brain), words, text_encoder(words, "gelu", brain),
                    unet(brain, **two), scheduler)
    golden = modules(pipe) | {"start": latents(6)} | steps(
        pipe, "ddim/trailing", scheduler, num_inference_steps=5)
    write("sd2", pipe, golden, brain, max_shard_size="20KB")

    words = tokenizer("<|endoftext|>")
    tiny = AutoencoderTiny(encoder_block_out_channels=[8] * 2, decoder_block_out_channels=[8] * 2,
                           num_encoder_blocks=[1, 2], num_decoder_blocks=[2, 1], latent_channels=4)
    student = unet(full, time_cond_proj_dim=16)
    pipe = pipeline(StableDiffusionPipeline, randomise(tiny, full), words, text_encoder(words, "quick_gelu", full),
                    student, DDIMScheduler(**SD1))
    golden = modules(pipe)
    w = torch.tensor([6.5, 2.0])
    embedding = pipe.get_guidance_scale_embedding(w, embedding_dim=16)
    golden |= {"student.w": w, "student.output": student(
        golden["unet.z"], golden["unet.time"], golden["unet.states"], timestep_cond=embedding).sample}
    write("tiny", pipe, golden, full)

    pipe = pipeline(StableDiffusionInpaintPipeline, autoencoder(half), words, text_encoder(words, "quick_gelu", half),
                    unet(half, in_channels=9), DDIMScheduler(**SD1))
    golden = modules(pipe, beside=5) | filling(pipe)
    write("inpaint", pipe, golden, half)


if __name__ == "__main__":
    main()
