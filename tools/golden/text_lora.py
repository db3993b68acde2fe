"""Golden numbers of LoRA that change text encoders too, in the files of PEFT and of kohya's scripts.

    pip install torch diffusers "transformers<5.3" peft safetensors   # later ones refuse this peft
    python3 tools/golden/text_lora.py       # writes crates/formats/tests/golden/latent/lora/

The models are those that latent.py and sdxl.py wrote. PEFT makes a random LoRA for the U-Net and each text encoder; diffusers
writes one file with it. Another LoRA is written under kohya's names. Both are read by diffusers, whose states and images are the
golden numbers.
"""
import shutil

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.training_utils import _collate_lora_metadata
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from latent import NEGATIVE, OUT, PROMPT, PROMPTS, SD1, VERSIONS
from sdxl import SD, SIZE

FOLDER = OUT / "lora"
RANK, WEIGHT = 2, 0.7
UNET = ["to_q", "to_out.0"]
TEXT = ["q_proj", "v_proj", "out_proj", "fc1", "fc2"]
KINDS = {"sd1": (StableDiffusionPipeline, ["text_encoder"], DDIMScheduler(**SD1), dict(variant="fp16")),
         "sdxl": (StableDiffusionXLPipeline, ["text_encoder", "text_encoder_2"],
                  DDIMScheduler(clip_sample=False, set_alpha_to_one=True, **SD), {})}
KOHYA = {"sd1": dict(unet="lora_unet", text_encoder="lora_te"),
         "sdxl": dict(unet="lora_unet", text_encoder="lora_te1", text_encoder_2="lora_te2")}


def load(name):
    kind, encoders, scheduler, options = KINDS[name]
    options = options if kind is StableDiffusionXLPipeline else options | dict(safety_checker=None)
    pipe = kind.from_pretrained(OUT / name, torch_dtype=torch.float32, **options)
    for part in encoders:                              # names of the files differ with the version of transformers
        network = getattr(pipe, part)
        (file,) = (OUT / name / part).glob("model*.safetensors")
        inner = any(key.startswith("text_model.") for key in network.state_dict())
        own = {f"text_model.{key}" if inner and not key.startswith(("text_model.", "text_projection.")) else key: value
               for key, value in load_file(file).items()}
        network.load_state_dict(own)
    pipe.scheduler = scheduler
    pipe.set_progress_bar_config(disable=True)
    return pipe, encoders


def peft_file(name, path):
    """As the training scripts of diffusers write it: alpha is only in the file's metadata."""
    pipe, encoders = load(name)
    parts = {}
    for seed, part in enumerate(["unet", *encoders]):
        network = getattr(pipe, part)
        alpha = 1 + seed
        network.add_adapter(LoraConfig(r=RANK, lora_alpha=alpha, target_modules=UNET if part == "unet" else TEXT))
        generator = torch.Generator().manual_seed(seed)
        for key, value in network.named_parameters():
            if "lora_" in key:
                value.data = torch.randn(value.shape, generator=generator) * 0.3
        network.peft_config["default"].base_model_name_or_path = None
        parts[part] = network
    state = {f"{part}_lora_layers": convert_state_dict_to_diffusers(get_peft_model_state_dict(network))
             for part, network in parts.items()}
    metadata = _collate_lora_metadata(parts)
    type(pipe).save_lora_weights(path.parent, weight_name=path.name, **state, **metadata)


def kohya_file(name, path):
    pipe, encoders = load(name)
    state = {}
    for seed, part in enumerate(["unet", *encoders]):
        generator = torch.Generator().manual_seed(10 + seed)
        for layer, module in getattr(pipe, part).named_modules():
            if not any(layer.endswith("." + target) for target in (UNET if part == "unet" else TEXT)):
                continue
            if part == "unet" and name == "sdxl":
                from sdxl import unet_name
                inner = unet_name(layer + ".weight").removesuffix(".weight")
            else:
                inner = layer if part == "unet" or layer.startswith("text_model.") else f"text_model.{layer}"
            key = f"{KOHYA[name][part]}_{inner.replace('.', '_')}"
            outputs, inputs = module.weight.shape[:2]
            state[f"{key}.lora_down.weight"] = torch.randn(RANK, inputs, generator=generator) * 0.3
            state[f"{key}.lora_up.weight"] = torch.randn(outputs, RANK, generator=generator) * 0.3
            state[f"{key}.alpha"] = torch.tensor(1.0 + seed)
    save_file(state, path)


@torch.no_grad()
def numbers(name, path):
    """States of prompts, and an image, with the LoRA added `WEIGHT` times."""
    pipe, encoders = load(name)
    before = {part: [p.clone() for p in getattr(pipe, part).parameters()] for part in ["unet", *encoders]}
    pipe.load_lora_weights(path.parent, weight_name=path.name, adapter_name="golden")
    pipe.set_adapters(["golden"], [WEIGHT])
    pipe.fuse_lora(components=["unet", *encoders])
    pipe.unload_lora_weights()
    for part, weights in before.items():               # it must have reached every network
        assert any(not torch.equal(a, b) for a, b in zip(weights, getattr(pipe, part).parameters())), part
    shape = (1, 4, 8, 8) if name == "sd1" else (1, 4, 8, 16)
    arguments = {} if name == "sd1" else dict(height=SIZE[0], width=SIZE[1])
    start = torch.randn(shape, generator=torch.Generator().manual_seed(6))
    if name == "sd1":
        states, _ = pipe.encode_prompt(PROMPTS[:3], "cpu", 1, False)
        golden = {"states": states}
    else:
        states, _, pooled, _ = pipe.encode_prompt(PROMPTS[:3], do_classifier_free_guidance=False)
        golden = {"states": states, "pooled": pooled}
    image = pipe(PROMPT, negative_prompt=NEGATIVE, guidance_scale=4.0, num_inference_steps=5, output_type="pt", latents=start,
                 **arguments).images
    return golden | {"start": start, "image": image}


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    golden = {}
    for name in KINDS:
        for kind, write in (("peft", peft_file), ("kohya", kohya_file)):
            path = FOLDER / f"{name}-{kind}.safetensors"
            write(name, path)
            keys = sorted(load_file(path))
            found = numbers(name, path)
            golden |= {f"{name}-{kind}.{key}": value.float().contiguous() for key, value in found.items()}
            print(path.name, path.stat().st_size, len(keys), keys[0], keys[-1])
    save_file(golden, FOLDER / "golden.safetensors", {"made_by": VERSIONS})


if __name__ == "__main__":
    main()
