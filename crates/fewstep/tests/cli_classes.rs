//! Classes of the data and classes of the model, through the real program.

mod tiny;
mod workspace;

use tiny::{remade, save, teacher, write_image};
use workspace::{Workspace, copy, weights};

const RECIPE: &str = r#"
seed = 4
teacher = "MODEL"
w = [0.0, 2.0]
[data]
kind = "folder"
path = "shapes"
channels = 1
[guided]
updates = 1
optim = { batch = 8, lr = 1e-3 }
"#;

/// Folders of images of three classes, and models that know these in two orders.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    for (kind, class) in ["circle", "square", "star"].iter().enumerate() {
        for image in 0..4 {
            let file = workspace.path(&format!("shapes/{class}/{image}.png"));
            write_image(&file, 16, 3 * image + kind);
        }
    }
    for (name, classes) in [
        ("sorted", ["circle", "square", "star"]),
        ("turned", ["star", "circle", "square"]),
    ] {
        let model = remade(&teacher(), 2, [1, 16, 16], &classes);
        save(&model, workspace.folder.path(), name);
    }
    workspace
}

/// A folder is trained as the class of its name, wherever the model has that; with `class_names`, as
/// the class of the name that is given to its label.
#[test]
fn classes_are_matched_by_name() {
    let workspace = workspace();
    let distil = |model: &str, out: &str, set: &[&str]| {
        let recipe = workspace.recipe("recipe.toml", &RECIPE.replace("MODEL", model));
        let words = ["distill", &recipe, "--out", out];
        workspace.succeed(&[&words[..], set].concat());
        weights(&workspace.path(out), "guided")
    };
    let set = |names: &'static str| ["--set", names];
    let sorted = distil("sorted", "a", &[]);
    // Label by label: circle is the model's 1, square 2, star 0.
    let turned = distil("turned", "b", &[]);
    let names = "data.class_names=[\"square\", \"star\", \"circle\"]";
    assert!(turned == distil("sorted", "c", &set(names)));
    assert!(turned != sorted);
    // Numbers are no names: they count.
    let numbers = "data.class_names=[\"0\", \"1\", \"2\"]";
    assert!(sorted == distil("turned", "d", &set(numbers)));
}

#[test]
fn other_classes_are_refused_with_the_first() {
    let workspace = workspace();
    let recipe = workspace.recipe("recipe.toml", &RECIPE.replace("MODEL", "turned"));
    let words = ["distill", &recipe, "--out", "students"];
    let folder = |name: &str| workspace.path("shapes").join(name);
    std::fs::rename(folder("square"), folder("cube")).expect("renamed");
    workspace.refuse(&words, &["shapes", "no class `cube`", "class_names"]);
    std::fs::remove_dir_all(folder("cube")).expect("removed");
    workspace.refuse(&words, &["no class `square`", "2 classes", "model has 3"]);
    let unlabelled = [&words[..], &["--set", "data.path=shapes/star"]].concat();
    workspace.refuse(&unlabelled, &["0 classes", "3 classes"]);
    assert!(!workspace.path("students").exists());
}

/// `eval` generates as many images of each class as there are real ones, by name.
#[test]
fn real_images_of_other_classes_are_refused() {
    let workspace = workspace();
    let folder = workspace.folder.path();
    for (name, classes) in [
        ("turned", ["star", "circle", "square"]),
        ("other", ["star", "circle", "cube"]),
    ] {
        save(&remade(&teacher(), 4, [1, 32, 32], &classes), folder, name);
    }
    let eval = |model, data| {
        let words = ["eval", "--model", model, "--data", data, "--steps", "2"];
        [&words[..], &["--count", "4"]].concat()
    };
    workspace.succeed(&eval("turned", "shapes"));
    workspace.refuse(&eval("other", "shapes"), &["shapes", "no class `square`"]);
    // Images without labels are compared with any model's.
    workspace.succeed(&eval("other", "shapes/star"));
    // Numbers are no names: a set may lack the last ones, but it has no more than the model.
    for (number, class) in ["circle", "square", "star"].iter().enumerate() {
        let to = workspace.path(&format!("numbers/{number}"));
        copy(&workspace.path("shapes").join(class), &to);
    }
    workspace.succeed(&eval("other", "numbers"));
    copy(&workspace.path("shapes/star"), &workspace.path("numbers/3"));
    workspace.refuse(
        &eval("other", "numbers"),
        &["numbers: 4 classes", "3 classes"],
    );
    let images = [
        &eval("other", "numbers")[..],
        &["--set", "data.labels=false"],
    ]
    .concat();
    workspace.succeed(&images);
    std::fs::remove_dir_all(workspace.path("numbers/2")).expect("removed");
    std::fs::remove_dir_all(workspace.path("numbers/3")).expect("removed");
    workspace.succeed(&eval("other", "numbers"));
}
