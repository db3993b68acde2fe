"""Golden numbers of a latent diffusion model with a BERT and a TAEF2: a tiny random folder with its outputs beside it.

    pip install torch diffusers transformers safetensors
    python3 tools/golden/latent_bert.py     # writes crates/formats/tests/golden/latent/bert/

The BERT and its tokenizer are those of transformers. diffusers has no autoencoder with the group normalisation of
TAEF2, so that one is written out here.
"""
import json
import shutil

import torch
from diffusers import DDIMScheduler
from latent import CORPUS, OUT, PROMPTS, SD1, TEXT, VERSIONS, latents, randomise, unet
from safetensors.torch import save_file
from tokenizers import BertWordPieceTokenizer
from torch import nn
from transformers import BertConfig, BertModel, BertTokenizer

FOLDER = OUT / "bert"
LENGTH = 20
PROMPTS = PROMPTS + ["keycap: *", "猫 and CAT[MASK]s, unaffable Ünïcödé-words\x00\x07 ok", "x" * 120 + " cat"]


def tokenizer():
    raw = BertWordPieceTokenizer()
    raw.train_from_iterator(CORPUS * 3, vocab_size=160, min_frequency=1, show_progress=False)
    words = raw.get_vocab()
    return BertTokenizer(vocab=dict(sorted(words.items(), key=lambda pair: pair[1])), model_max_length=LENGTH)


class Block(nn.Module):
    def __init__(self, width, pool):
        super().__init__()
        layers = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        if pool:
            self.pool = nn.Sequential(nn.Conv2d(width, 4 * width, 1, bias=False), nn.GroupNorm(4, 4 * width),
                                      nn.ReLU(), nn.Conv2d(4 * width, width, 1, bias=False))

    def forward(self, x):
        if hasattr(self, "pool"):
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Layers(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class Taef2(nn.Module):
    """One level down and up, with the group normalisation at the lower one."""

    def __init__(self, latent=4, width=8):
        super().__init__()
        wide = dict(kernel_size=3, padding=1)
        self.encoder = Layers([nn.Conv2d(3, width, **wide), Block(width, False),
                               nn.Conv2d(width, width, stride=2, bias=False, **wide), Block(width, True),
                               Block(width, True), nn.Conv2d(width, latent, **wide)])
        self.decoder = Layers([nn.Conv2d(latent, width, **wide), nn.ReLU(), Block(width, True), Block(width, True),
                               nn.Upsample(scale_factor=2), nn.Conv2d(width, width, bias=False, **wide),
                               Block(width, False), nn.Conv2d(width, 3, **wide)])

    def encode(self, image):
        return self.encoder((image + 1) / 2)

    def decode(self, latent):
        return self.decoder(3 * torch.tanh(latent / 3)) * 2 - 1


@torch.no_grad()
def main():
    torch.manual_seed(1)
    words = tokenizer()
    config = BertConfig(vocab_size=len(words), hidden_size=TEXT, intermediate_size=20, num_hidden_layers=2,
                        num_attention_heads=2, max_position_embeddings=32, pad_token_id=words.pad_token_id)
    bert, vae, net = randomise(BertModel(config), torch.float32), randomise(Taef2(), torch.float32), unet(torch.float32)
    shutil.rmtree(FOLDER, ignore_errors=True)
    net.save_pretrained(FOLDER / "unet")
    bert.save_pretrained(FOLDER / "text_encoder")
    words.save_pretrained(FOLDER / "tokenizer")
    DDIMScheduler(**SD1).save_pretrained(FOLDER / "scheduler")
    (FOLDER / "vae").mkdir()
    save_file(vae.state_dict(), FOLDER / "vae/diffusion_pytorch_model.safetensors")
    (FOLDER / "vae/config.json").write_text(json.dumps({
        "_class_name": "AutoencoderTiny", "in_channels": 3, "out_channels": 3, "latent_channels": 4,
        "encoder_block_out_channels": [8, 8], "decoder_block_out_channels": [8, 8], "num_encoder_blocks": [1, 2],
        "num_decoder_blocks": [2, 1], "use_midblock_gn": True, "scaling_factor": 1.0, "shift_factor": 0.0}, indent=2))
    (FOLDER / "model_index.json").write_text(json.dumps({
        "_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "BertModel"], "tokenizer": ["transformers", "BertTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderTiny"]}, indent=2))
    batch = words(PROMPTS, padding="max_length", truncation=True, return_tensors="pt")
    states = bert(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    z = latents(1, 2)
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(4)).clamp(-1, 1)
    golden = {"text.states": states, "vae.image": image, "vae.mean": vae.encode(image), "unet.z": z,
              "vae.decoded": vae.decode(z)}
    save_file({k: v.float().contiguous() for k, v in golden.items()}, FOLDER / "golden.safetensors",
              {"made_by": VERSIONS})
    text = {"prompts": PROMPTS, "tokens": batch.input_ids.tolist()}
    (FOLDER / "golden.json").write_text(json.dumps(text, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
