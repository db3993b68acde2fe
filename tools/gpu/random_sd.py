"""Makes a folder like Stable Diffusion 1.5's or SDXL's, in diffusers' layout, with random weights in half precision.

    python3 tools/gpu/random_sd.py FOLDER [--xl] [--tiny] [--images 16]

The U-Net has 860 M parameters and the folder takes 2.1 GB; with `--xl`, 2,567 M and 6.9 GB. With `--images` it also makes a
folder FOLDER-images of random images with captions, of the size that the model generates: 512, 1024 with `--xl`, 64 with `--tiny`.
"""
import argparse
import json
import math
import pathlib
import random
import struct
import zlib
from dataclasses import dataclass

# Values that repeat in every tensor, a prime number of them, so that rows of weights differ.
PERIOD = 65521


@dataclass
class Text:
    width: int
    layers: int
    heads: int


@dataclass
class Sizes:
    unet: list[int]
    depths: list[int]               # transformer blocks of every level's attention, 0 for levels without
    heads: int | list[int]
    vae: list[int]
    layers: int
    groups: int
    text: list[Text]                # SDXL has two encoders, the second with a projection
    vocabulary: int
    sample: int

    @property
    def is_xl(self):
        return len(self.text) > 1

    @property
    def context(self):
        return sum(text.width for text in self.text)


CLIP, BIG = Text(768, 12, 12), Text(1280, 32, 20)
SIZE = 256                          # the width of each of SDXL's six sizes
MODELS = {
    (False, False): Sizes([320, 640, 1280, 1280], [1, 1, 1, 0], 8, [128, 256, 512, 512], 2, 32, [CLIP], 49408, 64),
    (False, True): Sizes([16, 32], [1, 0], 2, [8, 8, 8, 8], 1, 8, [Text(24, 2, 2)], 200, 8),
    (True, False): Sizes([320, 640, 1280], [0, 2, 10], [5, 10, 20], [128, 256, 512, 512], 2, 32, [CLIP, BIG], 49408, 128),
    (True, True): Sizes([16, 32], [0, 2], [2, 4], [8, 8, 8, 8], 1, 8, [Text(24, 2, 2), Text(32, 2, 2)], 200, 8),
}


class Tensors:
    """Names and shapes of a network's tensors."""

    def __init__(self):
        self.shapes = {}

    def add(self, name, *shape):
        self.shapes[f"{name}.weight"] = shape

    def linear(self, name, from_, to, bias=True):
        self.add(name, to, from_)
        if bias:
            self.shapes[f"{name}.bias"] = (to,)

    def conv(self, name, from_, to, side):
        self.add(name, to, from_, side, side)
        self.shapes[f"{name}.bias"] = (to,)

    def norm(self, name, width):
        self.add(name, width)
        self.shapes[f"{name}.bias"] = (width,)

    def resnet(self, name, from_, to, time=None):
        self.norm(f"{name}.norm1", from_)
        self.conv(f"{name}.conv1", from_, to, 3)
        if time:
            self.linear(f"{name}.time_emb_proj", time, to)
        self.norm(f"{name}.norm2", to)
        self.conv(f"{name}.conv2", to, to, 3)
        if from_ != to:
            self.conv(f"{name}.conv_shortcut", from_, to, 1)

    def transformer(self, name, width, depth, sizes):
        self.norm(f"{name}.norm", width)
        for side in ("proj_in", "proj_out"):
            if sizes.is_xl:
                self.linear(f"{name}.{side}", width, width)
            else:
                self.conv(f"{name}.{side}", width, width, 1)
        for number in range(depth):
            self.block(f"{name}.transformer_blocks.{number}", width, sizes.context)

    def block(self, name, width, text):
        for number, context in ((1, width), (2, text)):
            attention = f"{name}.attn{number}"
            self.linear(f"{attention}.to_q", width, width, bias=False)
            self.linear(f"{attention}.to_k", context, width, bias=False)
            self.linear(f"{attention}.to_v", context, width, bias=False)
            self.linear(f"{attention}.to_out.0", width, width)
        for number in (1, 2, 3):
            self.norm(f"{name}.norm{number}", width)
        self.linear(f"{name}.ff.net.0.proj", width, 8 * width)
        self.linear(f"{name}.ff.net.2", 4 * width, width)

    def save(self, path, seed):
        header, start = {}, 0
        for name, shape in self.shapes.items():
            size = 2 * math.prod(shape)
            header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, start + size]}
            start += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        path.parent.mkdir(parents=True, exist_ok=True)
        normal = random.Random(seed)
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name, shape in self.shapes.items():
                file.write(values(normal, name, shape))


def values(normal, name, shape):
    """As layers are initialised: normalisations are the identity, and sums keep their size."""
    count = math.prod(shape)
    if len(shape) == 1:
        is_scale = "norm" in name and name.endswith(".weight")
        return struct.pack("<e", float(is_scale)) * count
    spread = 0.02 if "embedding" in name else math.prod(shape[1:]) ** -0.5
    length = min(count, PERIOD)
    period = struct.pack(f"<{length}e", *(normal.gauss(0, spread) for _ in range(length)))
    times, rest = divmod(count, length)
    return period * times + period[:2 * rest]


def unet(sizes):
    t, widths, time = Tensors(), sizes.unet, 4 * sizes.unet[0]
    last = len(widths) - 1
    t.conv("conv_in", 4, widths[0], 3)
    t.linear("time_embedding.linear_1", widths[0], time)
    t.linear("time_embedding.linear_2", time, time)
    if sizes.is_xl:
        t.linear("add_embedding.linear_1", sizes.text[-1].width + 6 * SIZE, time)
        t.linear("add_embedding.linear_2", time, time)
    skips, from_ = [widths[0]], widths[0]
    for level, to in enumerate(widths):
        block = f"down_blocks.{level}"
        for layer in range(sizes.layers):
            t.resnet(f"{block}.resnets.{layer}", from_, to, time)
            if depth := sizes.depths[level]:
                t.transformer(f"{block}.attentions.{layer}", to, depth, sizes)
            skips.append(to)
            from_ = to
        if level < last:
            t.conv(f"{block}.downsamplers.0.conv", to, to, 3)
            skips.append(to)
    for number in (0, 1):
        t.resnet(f"mid_block.resnets.{number}", from_, from_, time)
    t.transformer("mid_block.attentions.0", from_, sizes.depths[-1] or 1, sizes)
    for number, level in enumerate(range(last, -1, -1)):
        block, to = f"up_blocks.{number}", widths[level]
        for layer in range(sizes.layers + 1):
            t.resnet(f"{block}.resnets.{layer}", from_ + skips.pop(), to, time)
            if depth := sizes.depths[level]:
                t.transformer(f"{block}.attentions.{layer}", to, depth, sizes)
            from_ = to
        if level > 0:
            t.conv(f"{block}.upsamplers.0.conv", to, to, 3)
    t.norm("conv_norm_out", widths[0])
    t.conv("conv_out", widths[0], 4, 3)
    return t


def vae(sizes):
    t, widths = Tensors(), sizes.vae
    last = len(widths) - 1

    def middle(side):
        for number in (0, 1):
            t.resnet(f"{side}.mid_block.resnets.{number}", widths[-1], widths[-1])
        attention = f"{side}.mid_block.attentions.0"
        t.norm(f"{attention}.group_norm", widths[-1])
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            t.linear(f"{attention}.{name}", widths[-1], widths[-1])

    t.conv("encoder.conv_in", 3, widths[0], 3)
    from_ = widths[0]
    for level, to in enumerate(widths):
        for layer in range(sizes.layers):
            t.resnet(f"encoder.down_blocks.{level}.resnets.{layer}", from_, to)
            from_ = to
        if level < last:
            t.conv(f"encoder.down_blocks.{level}.downsamplers.0.conv", to, to, 3)
    middle("encoder")
    t.norm("encoder.conv_norm_out", from_)
    t.conv("encoder.conv_out", from_, 8, 3)
    t.conv("quant_conv", 8, 8, 1)
    t.conv("post_quant_conv", 4, 4, 1)
    t.conv("decoder.conv_in", 4, from_, 3)
    middle("decoder")
    for number, to in enumerate(reversed(widths)):
        for layer in range(sizes.layers + 1):
            t.resnet(f"decoder.up_blocks.{number}.resnets.{layer}", from_, to)
            from_ = to
        if number < last:
            t.conv(f"decoder.up_blocks.{number}.upsamplers.0.conv", to, to, 3)
    t.norm("decoder.conv_norm_out", from_)
    t.conv("decoder.conv_out", from_, 3, 3)
    return t


def text_encoder(text, vocabulary, projected):
    t, width = Tensors(), text.width
    t.add("text_model.embeddings.token_embedding", vocabulary, width)
    t.add("text_model.embeddings.position_embedding", 77, width)
    for number in range(text.layers):
        layer = f"text_model.encoder.layers.{number}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            t.linear(f"{layer}.self_attn.{name}", width, width)
        t.norm(f"{layer}.layer_norm1", width)
        t.norm(f"{layer}.layer_norm2", width)
        t.linear(f"{layer}.mlp.fc1", width, 4 * width)
        t.linear(f"{layer}.mlp.fc2", 4 * width, width)
    t.norm("text_model.final_layer_norm", width)
    if projected:
        t.add("text_projection", width, width)
    return t


def encoder_configurations(folder, text, words, sizes, projected):
    kind = "CLIPTextModelWithProjection" if projected else "CLIPTextModel"
    tokenizer = folder.replace("text_encoder", "tokenizer")
    return {
        f"{folder}/config.json": {
            "architectures": [kind], "model_type": "clip_text_model", "hidden_act": "gelu" if projected else "quick_gelu",
            "hidden_size": text.width, "intermediate_size": 4 * text.width, "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads, "max_position_embeddings": 77, "vocab_size": sizes.vocabulary,
            "projection_dim": text.width, "layer_norm_eps": 1e-5, "bos_token_id": len(words) - 2,
            "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1},
        f"{tokenizer}/tokenizer_config.json": {
            "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": words[-2], "eos_token": words[-1],
            "pad_token": words[-1], "unk_token": words[-1]},
        f"{tokenizer}/vocab.json": {word: number for number, word in enumerate(words)},
    }


def configurations(sizes, words):
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in sizes.depths]
    up = ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(sizes.depths)]
    levels = len(sizes.vae)
    solver = "EulerDiscreteScheduler" if sizes.is_xl else "PNDMScheduler"
    index = {
        "_class_name": "StableDiffusionXLPipeline" if sizes.is_xl else "StableDiffusionPipeline",
        "scheduler": ["diffusers", solver], "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    xl = {}
    if sizes.is_xl:
        index |= {
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"], "force_zeros_for_empty_prompt": True}
        xl = {
            "transformer_layers_per_block": [depth or 1 for depth in sizes.depths], "use_linear_projection": True,
            "addition_embed_type": "text_time", "addition_time_embed_dim": SIZE,
            "projection_class_embeddings_input_dim": sizes.text[-1].width + 6 * SIZE}
    return {
        "model_index.json": index,
        "scheduler/scheduler_config.json": {
            "_class_name": solver, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
            "num_train_timesteps": 1000, "prediction_type": "epsilon", "steps_offset": 1, "timestep_spacing": "leading",
            **({} if sizes.is_xl else {"set_alpha_to_one": False, "skip_prk_steps": True})},
        "unet/config.json": {
            "_class_name": "UNet2DConditionModel", "sample_size": sizes.sample, "in_channels": 4, "out_channels": 4,
            "block_out_channels": sizes.unet, "layers_per_block": sizes.layers, "down_block_types": down, "up_block_types": up,
            "attention_head_dim": sizes.heads, "cross_attention_dim": sizes.context, "norm_num_groups": sizes.groups, **xl},
        "vae/config.json": {
            "_class_name": "AutoencoderKL", "block_out_channels": sizes.vae, "layers_per_block": sizes.layers,
            "latent_channels": 4, "in_channels": 3, "out_channels": 3, "sample_size": 8 * sizes.sample,
            "norm_num_groups": sizes.groups, "scaling_factor": 0.13025 if sizes.is_xl else 0.18215,
            "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels},
    }


def png(path, side, numbers):
    """A random image, in squares of eight pixels."""
    line = lambda: b"\0" + b"".join(8 * bytes(numbers.randrange(256) for _ in range(3)) for _ in range(side // 8))
    rows = b"".join(8 * line() for _ in range(side // 8))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--xl", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--images", type=int, default=0)
    arguments = parser.parse_args()
    sizes = MODELS[arguments.xl, arguments.tiny]
    letters = [chr(code) for code in range(33, 127)]
    words = letters + [letter + "</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    files = configurations(sizes, words)
    for number, text in enumerate(sizes.text):
        name, projected = f"text_encoder{['', '_2'][number]}", number > 0
        files |= encoder_configurations(name, text, words, sizes, projected)
        text_encoder(text, sizes.vocabulary, projected).save(arguments.folder / name / "model.safetensors", 3 + number)
    for name, content in files.items():
        path = arguments.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1))
        if name.startswith("tokenizer"):
            path.with_name("merges.txt").write_text("#version: 0.2\n")
    unet(sizes).save(arguments.folder / "unet/diffusion_pytorch_model.safetensors", 1)
    vae(sizes).save(arguments.folder / "vae/diffusion_pytorch_model.safetensors", 2)
    images = arguments.folder.with_name(arguments.folder.name + "-images")
    numbers = random.Random(5)
    for number in range(arguments.images):
        images.mkdir(parents=True, exist_ok=True)
        png(images / f"{number:04}.png", 8 * sizes.sample, numbers)
        (images / f"{number:04}.txt").write_text(f"a pattern of number {number}")


main()
