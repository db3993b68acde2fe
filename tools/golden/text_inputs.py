"""Golden numbers of what changes how texts become states: CLIP skip, textual inversion, and tokens that a folder adds.

    pip install torch diffusers transformers safetensors
    python3 tools/golden/text_inputs.py     # writes crates/formats/tests/golden/latent/text/

The models are those that latent.py and sdxl.py wrote. diffusers' `encode_prompt` gives the states without some of the last layers,
and those of prompts with tokens that `load_textual_inversion` has read, from files as diffusers, web interfaces and trainers of SDXL
write them. `added` has what `save_pretrained` writes of a tokenizer and a text encoder with added tokens.
"""
import json
import shutil

import torch
from safetensors.torch import load_file, save_file

from latent import OUT, PROMPTS, VERSIONS
from text_lora import load

FOLDER = OUT / "text"
# One vector and several, next to other words, within another word, in capitals, more than the model reads. (diffusers takes only
# the first of several vectors of a token in capitals; we take all.)
INVERTED = ["a photo of <cat-toy>", "style-x, a dog", "<cat-toy>style-x<cat-toy> style-xy", "a <CAT-TOY> here",
            " ".join(["style-x cat"] * 30)]


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.3


def states(pipe, prompts, **arguments):
    encode = pipe.encode_prompt
    if hasattr(pipe, "text_encoder_2"):
        text, _, pooled, _ = encode(prompts, do_classifier_free_guidance=False, **arguments)
        return {"states": text, "pooled": pooled}
    # diffusers 0.42 looks for the last norm where transformers 5 no longer has it.
    object.__setattr__(pipe.text_encoder, "text_model", pipe.text_encoder)
    text, _ = encode(prompts, "cpu", 1, False, **arguments)
    return {"states": text}


@torch.no_grad()
def skipped():
    golden = {}
    for name in ["sd1", "sdxl"]:
        pipe, _ = load(name)
        for layers in [1, 2] if name == "sd1" else [1]:
            for key, value in states(pipe, PROMPTS[:3], clip_skip=layers).items():
                golden[f"{name}-skip-{layers}.{key}"] = value
    return golden


@torch.no_grad()
def inverted():
    """Files of several tools, and the states with all of them loaded."""
    width = 12
    one, several = random(1, width), random(2, 3, width)
    save_file({"<cat-toy>": one}, FOLDER / "learned_embeds.safetensors")
    save_file({"emb_params": several}, FOLDER / "style-x.safetensors")
    torch.save({"<cat-toy>": one}, FOLDER / "learned_embeds.bin")
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": torch.nn.Parameter(several)}, "name": "style-x",
                "step": 500, "sd_checkpoint": None, "sd_checkpoint_name": None}, FOLDER / "style-x.pt")
    pipe, _ = load("sd1")
    pipe.load_textual_inversion(FOLDER, weight_name="learned_embeds.safetensors")
    pipe.load_textual_inversion(FOLDER, weight_name="style-x.safetensors", token="style-x")
    golden = {f"sd1-inverted.{key}": value for key, value in states(pipe, INVERTED).items()}

    first, second = random(3, 2, 12), random(4, 2, 16)
    save_file({"clip_l": first, "clip_g": second}, FOLDER / "both.safetensors")
    pipe, _ = load("sdxl")
    for embedding, number in [(first, ""), (second, "_2")]:
        pipe.load_textual_inversion({"emb_params": embedding}, token="both", tokenizer=getattr(pipe, f"tokenizer{number}"),
                                    text_encoder=getattr(pipe, f"text_encoder{number}"))
    golden |= {f"sdxl-inverted.{key}": value for key, value in states(pipe, ["both of a dog", "no such token"]).items()}
    return golden


@torch.no_grad()
def added():
    """A tokenizer and a text encoder with tokens of their own, in new and in older files."""
    pipe, _ = load("sd1")
    pipe.load_textual_inversion({"<cat-toy>": random(1, 12)})
    pipe.load_textual_inversion({"emb_params": random(2, 3, 12)}, token="style-x")
    folder = FOLDER / "added"
    pipe.tokenizer.save_pretrained(folder / "tokenizer")
    pipe.text_encoder.to(torch.float16).save_pretrained(folder / "text_encoder")
    older = FOLDER / "added-older/tokenizer"
    shutil.copytree(OUT / "sd1/tokenizer", older)
    whole = json.loads((folder / "tokenizer/tokenizer.json").read_text())
    tokens = {token["content"]: token["id"] for token in whole["added_tokens"]}
    known = json.loads((older / "vocab.json").read_text())
    (older / "added_tokens.json").write_text(json.dumps({word: n for word, n in tokens.items() if word not in known}))
    pipe.text_encoder.float()
    prompts = pipe.maybe_convert_prompt(INVERTED, pipe.tokenizer)
    ids = pipe.tokenizer(prompts, padding="max_length", truncation=True).input_ids
    return {"added.states": states(pipe, INVERTED)["states"]}, ids


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    more, tokens = added()
    golden = skipped() | inverted() | more
    save_file({key: value.float().contiguous() for key, value in golden.items()}, FOLDER / "golden.safetensors",
              {"made_by": VERSIONS})
    (FOLDER / "golden.json").write_text(json.dumps({"prompts": INVERTED, "tokens": tokens}, ensure_ascii=False) + "\n")
    for file in sorted(FOLDER.rglob("*")):
        print(file.relative_to(FOLDER), file.stat().st_size)


if __name__ == "__main__":
    main()
