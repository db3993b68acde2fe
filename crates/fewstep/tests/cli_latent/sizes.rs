//! Students for images of another size than their teacher's.

use super::*;

fn guided(of: &str, workspace: &Workspace) -> String {
    let (text, _) = DISTILL.split_once("[progressive]").expect("stage two");
    recipe(
        workspace,
        "r.toml",
        &text.replace("updates = 6", "updates = 1"),
        of,
    )
}

#[test]
fn a_student_generates_images_of_the_size_of_its_data() {
    let workspace = workspace();
    for model in ["sd1", "sdxl"] {
        let recipe = guided(model, &workspace);
        let size = ["--set", "data.size=24", "--out", model];
        let (_, said) = workspace.succeed(&[&["distill", &*recipe], &size[..]].concat());
        assert!(said.contains("16x16") && said.contains("24x24"), "{said}");
        let folder = workspace.path(model).join("models/guided");
        assert_eq!(json(&folder.join("unet/config.json"))["sample_size"], 12);
        assert_eq!(json(&folder.join("fewstep.json"))["resolution"][2], 12);
        let sample = ["sample", "--model", model, "--steps", "1", "--prompt", "a"];
        workspace.succeed(&[&sample[..], &["--out", "x.png"]].concat());
        let image = image::read(&workspace.path("x.png"), None, 3).expect("an image");
        assert_eq!((image.shape.height, image.shape.width), (24, 24));
        let resume = ["--resume", "--set", "data.size=16", "--out", model];
        workspace.refuse(
            &[&["distill", &*recipe], &resume[..]].concat(),
            &["data.size"],
        );
    }
}

#[test]
fn a_size_that_cannot_be_halved_is_refused() {
    let workspace = workspace();
    let recipe = guided("sd1", &workspace);
    for (size, said) in [("18", "multiples of 4"), ("15", "multiples of 2")] {
        let size = format!("data.size={size}");
        let words = ["distill", &*recipe, "--set", &*size, "--out", "students"];
        workspace.refuse(&words, &[said]);
    }
}

/// Without `data.size` the images must have the teacher's size by themselves.
#[test]
fn a_size_that_nobody_asked_for_is_refused() {
    let workspace = workspace();
    for image in 0..10 {
        let file = workspace.path("captioned").join(format!("{image}.png"));
        write_pattern(&file, image, [24, 24]);
    }
    let recipe = guided("sd1", &workspace);
    let path = workspace.path("r.toml");
    let text = std::fs::read_to_string(&path).expect("there");
    std::fs::write(&path, text.replace("size = 16\n", "")).expect("written");
    workspace.refuse(&["distill", &recipe, "--out", "students"], &["size"]);
}

/// A ControlNet takes control images of the size that belongs to the images: here half of it.
#[test]
fn a_student_of_a_teacher_with_a_controlnet_takes_larger_control_images() {
    let workspace = workspace();
    let bicubic = |factor: usize| format!("{{ kind = \"bicubic\", factor = {factor} }}");
    let condition = "condition = { kind = \"instruct\", path = \"BEFORE\" }";
    let denoising = CODI
        .replace("method = \"codi\"", "method = \"denoising\"")
        .replace(condition, &format!("condition = {}", bicubic(2)))
        .replace("[codi]\nintervals = 8\n", "");
    let teach = recipe(&workspace, "teach.toml", &denoising, "sd1");
    workspace.succeed(&["distill", &teach, "--out", "teacher"]);
    let (text, _) = DISTILL.split_once("[progressive]").expect("stage two");
    let students = |factor| {
        let condition = format!("condition = {}\n[data]", bicubic(factor));
        let text = text.replace("[data]", &condition);
        recipe(&workspace, "students.toml", &text, "sd1")
    };
    let size = ["--set", "teacher=teacher", "--set", "data.size=24"];
    let distill = |factor, out| {
        let students = students(factor);
        let words = [&["distill", &*students, "--out", out][..], &size].concat();
        workspace.run(&words)
    };
    let refused = distill(4, "none");
    workspace::assert_refused(&refused, &["[3, 12, 12]", "[3, 6, 6]"]);
    let output = distill(2, "students");
    assert!(output.status.success(), "{}", stderr(&output));
    let said = json(&workspace.path("students/models/guided/fewstep.json"));
    assert_eq!(said["control"]["shape"], serde_json::json!([3, 12, 12]));
    assert_eq!(said["resolution"], serde_json::json!([4, 12, 12]));
    write_pattern(&workspace.path("small.png"), 0, [12, 12]);
    let upscale = ["upscale", "--model", "students", "--image", "small.png"];
    let more = ["--steps", "1", "--prompt", "a", "--out", "large.png"];
    workspace.succeed(&[&upscale[..], &more].concat());
    let image = image::read(&workspace.path("large.png"), None, 3).expect("an image");
    assert_eq!((image.shape.height, image.shape.width), (24, 24));
}
