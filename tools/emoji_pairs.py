"""Pairs for learning to edit by instruction: Noto emoji without and with a skin tone.

    python tools/emoji_pairs.py EMOJI OUT

EMOJI is a folder with metadata.jsonl: `file_name`, `text` that ends with the code of a skin tone, and `base`, the file name of
the same emoji without one. OUT gets `train` and `test`, each a metadata.jsonl with `file_name` (after the edit), `before`
and `text` (the instruction), beside links to the images. Every tenth emoji is held out in all its tones.
"""

import json
import os
import sys

TONES = {
    "1f3fb": "light skin tone",
    "1f3fc": "medium-light skin tone",
    "1f3fd": "medium skin tone",
    "1f3fe": "medium-dark skin tone",
    "1f3ff": "dark skin tone",
}

emoji, out = (os.path.abspath(path) for path in sys.argv[1:3])
with open(os.path.join(emoji, "metadata.jsonl")) as file:
    lines = [json.loads(line) for line in file]
places = {os.path.basename(line["file_name"]): line["file_name"] for line in lines}
pairs = []
for line in lines:
    tone = line["text"].rsplit(" ", 1)[-1]
    base = line["base"]
    if tone in TONES and base in places and places[base] != line["file_name"]:
        pairs.append({"file_name": line["file_name"], "before": places[base], "text": TONES[tone]})
bases = sorted({pair["before"] for pair in pairs})
held_out = set(bases[::10])
for part in ("train", "test"):
    folder = os.path.join(out, part)
    os.makedirs(folder, exist_ok=True)
    chosen = [pair for pair in pairs if (pair["before"] in held_out) == (part == "test")]
    with open(os.path.join(folder, "metadata.jsonl"), "w") as file:
        file.writelines(json.dumps(pair) + "\n" for pair in chosen)
    for name in sorted({pair[key] for pair in chosen for key in ("file_name", "before")}):
        link = os.path.join(folder, name)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if not os.path.lexists(link):
            os.symlink(os.path.join(emoji, name), link)
    print(f"{part}: {len(chosen)} pairs of {len({pair['before'] for pair in chosen})} emoji")
