"""Golden numbers of SDXL: a tiny random model in diffusers' folder, its single file, and LoRA and ControlNet for it.

    pip install torch diffusers transformers peft safetensors
    python3 tools/golden/sdxl.py            # writes crates/formats/tests/golden/latent/sdxl/

As latent.py does it, whose vocabulary and autoencoder this model has. `single_file.json` has the names of all tensors in a
single file, checked by diffusers' own reader, and `kohya.json` those of layers in a LoRA of sd-scripts, checked by diffusers'
converter.
"""
import json
import re

import torch
from diffusers import ControlNetModel, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers import DDIMScheduler
from diffusers.loaders import lora_conversion_utils as lora_reader
from diffusers.loaders import single_file_utils as reader
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import latent
from latent import NEGATIVE, OUT, PROMPT, PROMPTS, autoencoder, randomise, tokenizer

FOLDER = OUT / "sdxl"
FIRST, SECOND, POOLED, IDS = 12, 16, 10, 8           # widths of states, of the pooled embedding, of a time id
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading")
SHAPE, SIZE = (4, 8, 16), (16, 32)                   # latents, and height and width of the image
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "proj_in", "ff.net.0.proj", "ff.net.2", "time_emb_proj",
           "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "add_embedding.linear_1", "conv_in", "conv_out",
           "time_embedding.linear_1"]


def noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clip(tokens, kind, act, dtype, **config):
    return randomise(kind(CLIPTextConfig(
        vocab_size=len(tokens), num_attention_heads=2, hidden_act=act, bos_token_id=0, eos_token_id=2,
        pad_token_id=1, **config)), dtype)


def parts(dtype):
    """The second tokenizer fills up with other tokens than the first."""
    first, second = tokenizer("<|endoftext|>"), tokenizer("!")
    vae = autoencoder(dtype)
    vae.register_to_config(scaling_factor=0.13025, force_upcast=True)
    unet = randomise(UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=[8, 8, 16], layers_per_block=1,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], norm_num_groups=4,
        attention_head_dim=[1, 2, 4], transformer_layers_per_block=[1, 2, 3], use_linear_projection=True,
        cross_attention_dim=FIRST + SECOND, addition_embed_type="text_time", addition_time_embed_dim=IDS,
        projection_class_embeddings_input_dim=POOLED + 6 * IDS), dtype)
    return dict(vae=vae, unet=unet, tokenizer=first, tokenizer_2=second,
                text_encoder=clip(first, CLIPTextModel, "quick_gelu", dtype, hidden_size=FIRST, intermediate_size=20,
                                  num_hidden_layers=2),
                text_encoder_2=clip(second, CLIPTextModelWithProjection, "gelu", dtype, hidden_size=SECOND,
                                    intermediate_size=24, num_hidden_layers=3, projection_dim=POOLED),
                scheduler=EulerDiscreteScheduler(**SD))


@torch.no_grad()
def modules(pipe):
    z, time = noise(1, 2, *SHAPE), torch.tensor([981.0, 20.0])
    states, pooled = noise(2, 2, 5, FIRST + SECOND), noise(3, 2, POOLED)
    ids = torch.tensor([[1024.0, 768, 0, 64, 16, 32], [16, 32, 0, 0, 512, 640]])
    golden = {"unet.z": z, "unet.time": time, "unet.states": states, "unet.pooled": pooled, "unet.time_ids": ids}
    added = {"text_embeds": pooled, "time_ids": ids}
    golden["unet.output"] = pipe.unet(z, time, states, added_cond_kwargs=added).sample
    controlnet = randomise(ControlNetModel.from_unet(
        pipe.unet, conditioning_channels=3, conditioning_embedding_out_channels=(8, 12)), torch.float16)
    control = noise(8, 2, 3, *SIZE)
    down, middle = controlnet(z, time, states, control, added_cond_kwargs=added, return_dict=False)
    golden["control.image"] = control
    golden["control.output"] = pipe.unet(
        z, time, states, added_cond_kwargs=added, down_block_additional_residuals=down,
        mid_block_additional_residual=middle).sample
    encoded, _, pooled, _ = pipe.encode_prompt(PROMPTS[:3], do_classifier_free_guidance=False)
    golden |= {"text.states": encoded, "text.pooled": pooled}
    return golden, controlnet


@torch.no_grad()
def whole(pipe):
    """From a text to an image, with and without a negative prompt, and by the model's own scheduler: Euler's method, which is
    DDIM in other variables."""
    start = noise(6, 1, *SHAPE)
    golden = {"start": start}
    pipe.set_progress_bar_config(disable=True)
    golden["euler.image"] = pipe(PROMPT, guidance_scale=4.0, num_inference_steps=5, output_type="pt", latents=start,
                                 height=SIZE[0], width=SIZE[1]).images
    pipe.scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=True, **SD)
    for name, negative in (("empty", None), ("negative", NEGATIVE)):
        seen = []
        image = pipe(PROMPT, negative_prompt=negative, guidance_scale=4.0, num_inference_steps=5, output_type="pt",
                     latents=start, height=SIZE[0], width=SIZE[1],
                     callback_on_step_end=lambda p, i, t, k: seen.append(k["latents"].clone()) or k).images
        golden |= {f"{name}.latents": torch.cat(seen), f"{name}.image": image}
    return golden


def unet_name(name):
    """SGM's name of a tensor of the U-Net: as the first code had it, two layers of attention in a block at most."""
    renames = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
               "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
    whole = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
             "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
             "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
             "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
             "mid_block.resnets.1": "middle_block.2"}
    for old, new in renames.items():
        name = re.sub(rf"(resnets\.\d+)\.{old}\b", rf"\1.{new}", name)
    for old, new in whole.items():
        name = re.sub(rf"^{old}\b", new, name)
    name = re.sub(r"^down_blocks\.(\d)\.(resnets|attentions)\.0",
                  lambda m: f"input_blocks.{1 + 2 * int(m[1])}.{int(m[2] == 'attentions')}", name)
    name = re.sub(r"^down_blocks\.(\d)\.downsamplers\.0\.conv", lambda m: f"input_blocks.{2 + 2 * int(m[1])}.0.op", name)
    name = re.sub(r"^up_blocks\.(\d)\.(resnets|attentions)\.(\d)",
                  lambda m: f"output_blocks.{2 * int(m[1]) + int(m[3])}.{int(m[2] == 'attentions')}", name)
    return re.sub(r"^up_blocks\.(\d)\.upsamplers\.0", lambda m: f"output_blocks.{2 * int(m[1]) + 1}.2", name)


def open_clip(name):
    """OpenCLIP's name; `:0` to `:2` for thirds of one tensor, `:t` for a transposed one."""
    if name == "text_projection.weight":
        return "text_projection:t"
    from single_file import open_clip as inner
    return inner(name.removeprefix("text_model.")).removeprefix("cond_stage_model.model.")


def single_file(pipe):
    from single_file import vae as vae_name
    own = {part: {name: tensor.clone() for name, tensor in getattr(pipe, part).state_dict().items()}
           for part in ("unet", "vae", "text_encoder", "text_encoder_2")}
    bare = lambda name: name.removeprefix("text_model.")
    rename = {
        "unet": lambda name: "model.diffusion_model." + unet_name(name), "vae": vae_name,
        "text_encoder": lambda name: "conditioner.embedders.0.transformer.text_model." + bare(name),
        "text_encoder_2": lambda name: "conditioner.embedders.1.model." + open_clip(name)}
    names, single, thirds = {}, {}, {}
    for part, tensors in own.items():
        for name, tensor in tensors.items():
            place = names[f"{part}/{name}"] = rename[part](name)
            place, _, how = place.partition(":")
            if how == "t":
                single[place] = tensor.T
            elif how:
                thirds.setdefault(place, {})[how] = tensor
            else:
                projection = part == "vae" and ".attentions." in name and tensor.dim() == 2
                single[place] = tensor[:, :, None, None] if projection else tensor
    single |= {place: torch.cat([tensors[k] for k in "012"]) for place, tensors in thirds.items()}
    config = dict(pipe.unet.config)
    with_prefix = lambda tensors: {
        name if name.startswith(("text_model.", "text_projection.")) else f"text_model.{name}": t for name, t in tensors.items()}
    checks = [
        (reader.convert_ldm_unet_checkpoint(dict(single), config), own["unet"]),
        (reader.convert_ldm_vae_checkpoint(dict(single), dict(pipe.vae.config)), own["vae"]),
        (reader.convert_ldm_clip_checkpoint(dict(single)), with_prefix(own["text_encoder"])),
        (reader.convert_open_clip_checkpoint(pipe.text_encoder_2, dict(single), prefix="conditioner.embedders.1.model."),
         with_prefix(own["text_encoder_2"]))]
    for theirs, ours in checks:
        theirs = {name: t for name, t in with_prefix(theirs).items()} if "text_model.final_layer_norm.weight" in ours else theirs
        assert theirs.keys() == ours.keys(), sorted(theirs.keys() ^ ours.keys())[:6]
        for name, tensor in ours.items():
            assert torch.equal(theirs[name].reshape(tensor.shape), tensor), name
    (FOLDER / "single_file.json").write_text(json.dumps(names, indent=0) + "\n")
    return len(names)


def kohya(pipe):
    """The layers of a LoRA under sd-scripts' names, which diffusers must find again."""
    layers = [name for name, module in pipe.unet.named_modules()
              if any(name == t or name.endswith("." + t) for t in TARGETS) and hasattr(module, "weight")]
    names = {name: "lora_unet_" + unet_name(name + ".weight").removesuffix(".weight").replace(".", "_") for name in layers}
    state = {}
    for number, layer in enumerate(layers):
        state[f"{names[layer]}.lora_down.weight"] = torch.full((1, 1), float(number))
        state[f"{names[layer]}.lora_up.weight"] = torch.full((1, 1), float(number))
        state[f"{names[layer]}.alpha"] = torch.tensor(1.0)
    state = lora_reader._maybe_map_sgm_blocks_to_diffusers(state, pipe.unet.config)
    found, _ = lora_reader._convert_non_diffusers_lora_to_diffusers(state)
    place = {int(value.item()): name for name, value in found.items() if "up" in name or "lora_B" in name}
    for number, layer in enumerate(layers):
        theirs = re.sub(r"\.lora[._](up|B)\.weight$", "", place[number]).removeprefix("unet.")
        theirs = re.sub(r"\.processor\.to_(\w+)_lora.*", r".to_\1", theirs).replace("to_out_lora", "to_out")
        if theirs not in (layer, layer.replace("to_out.0", "to_out")):
            print("differs:", layer, names[layer], theirs)
    (FOLDER / "kohya.json").write_text(json.dumps(names, indent=0) + "\n")
    return len(names)


def main():
    torch.manual_seed(0)
    half = torch.float16
    pipe = StableDiffusionXLPipeline(**parts(half))
    golden, controlnet = modules(pipe)
    golden |= whole(pipe)
    pipe.scheduler = EulerDiscreteScheduler(**SD)
    latent.write("sdxl", pipe, golden, half)
    pipe.text_encoder_2.to(half)
    pipe.save_pretrained(FOLDER)
    save_file({name: t.half().contiguous() for name, t in controlnet.state_dict().items()}, FOLDER / "controlnet.safetensors")
    (FOLDER / "controlnet.json").write_text(controlnet.to_json_string())
    tokens = pipe.tokenizer_2(PROMPTS, padding="max_length", truncation=True).input_ids
    text = json.loads((FOLDER / "golden.json").read_text()) | {"tokens_2": tokens}
    (FOLDER / "golden.json").write_text(json.dumps(text, ensure_ascii=False) + "\n")
    print(single_file(pipe), "names of a single file,", kohya(pipe), "of a LoRA")


if __name__ == "__main__":
    main()
