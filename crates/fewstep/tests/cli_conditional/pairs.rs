//! Pairs of images in two folders.

use super::*;

fn pairs(folder: &Path) {
    for kind in 0..6 {
        write_image(&folder.join(format!("images/{kind}.png")), 8, kind);
        write_image(&folder.join(format!("sketches/{kind}.png")), 16, kind);
    }
}

/// Pairs from two folders are matched by name, and refused with a reason if one is missing or does
/// not fit.
#[test]
fn pairs_must_be_complete() {
    let workspace = Workspace::new();
    let folder = workspace.folder.path();
    pairs(folder);
    let data = "data={kind=\"folder\", path=\"images\", channels=1}";
    let train = workspace.recipe("train.toml", TRAIN);
    workspace.succeed(&[
        "train",
        &train,
        "--out",
        "teacher",
        "--set",
        data,
        "--set",
        "updates=2",
    ]);
    let recipe = workspace.recipe("codi.toml", CODI);
    let condition = "condition={kind=\"image\", path=\"sketches\"}";
    let words = ["distill", &recipe, "--set", data, "--set", "updates=2"];
    let into = |out, condition| [&words[..], &["--out", out, "--set", condition]].concat();
    workspace.succeed(&into("run", condition));
    let render = [
        "render",
        "--model",
        "run",
        "--image",
        "sketches/0.png",
        "--out",
        "out.png",
    ];
    workspace.succeed(&render);

    let broken = into("broken", condition);
    let sketch = folder.join("sketches/3.png");
    std::fs::remove_file(&sketch).expect("removed");
    workspace.refuse(&broken, &["sketches", "`3`", "3.png"]);
    write_image(&sketch, 12, 3);
    workspace.refuse(&broken, &["3.png", "16x16", "12x12"]);
    workspace::write(&sketch, b"no image");
    workspace.refuse(&broken, &["3.png", "unreadable"]);
    let depth = into("broken", "condition={kind=\"depth\", path=\"sketches\"}");
    workspace.refuse(&depth, &["3.png", "unreadable"]);
}
