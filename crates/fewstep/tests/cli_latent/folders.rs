//! Folders of students whose teacher's text encoder is in 16 bits.

use super::*;

/// diffusers' pipelines want one type in all parts, which configurations name. To this program
/// nothing has changed: students restyle with their teacher, and latents are not encoded again.
#[test]
fn a_student_names_one_type_and_has_the_parts_of_its_teacher() {
    for (model, encoders) in [
        ("sd1", &["text_encoder"][..]),
        ("sdxl", &["text_encoder", "text_encoder_2"]),
    ] {
        let workspace = workspace();
        let (first, second) = DISTILL.split_once("[progressive]").expect("stage two");
        let (head, _) = first.split_once("[guided]").expect("stage one");
        let guided = first.replace("updates = 6", "updates = 1");
        let guided = recipe(&workspace, "guided.toml", &guided, model);
        workspace.succeed(&["distill", &guided, "--out", "students"]);
        let export = ["export", "--model", "students", "--out", "folder"];
        workspace.succeed(&export);
        let ready = ["export", "--model", "students", "--for", "diffusers"];
        workspace.succeed(&[&ready[..], &["--out", "ready"]].concat());
        let (teacher, student) = (golden_path(model), "students/models/guided");
        let dtype = |folder: &Path, encoder: &str| {
            json(&folder.join(encoder).join("config.json"))["dtype"].clone()
        };
        for written in [student, "folder", "ready"] {
            for encoder in encoders {
                assert_eq!(dtype(teacher.as_ref(), encoder), "float16");
                let named = dtype(&workspace.path(written), encoder);
                assert_eq!(named, "float32", "{written}/{encoder}");
            }
            let image = workspace.path("captioned/0.png").display().to_string();
            let task = ["restyle", "--image", &image, "--from", "a", "--to", "b"];
            let steps = ["--steps", "2", "--encoder", &teacher, "--decoder", written];
            workspace.succeed(&[&task[..], &steps].concat());
        }
        let cached = caches(&workspace).len();
        let halved = second.replace("updates = 4", "updates = 1");
        let halved = format!("{head}[progressive]{halved}");
        let halved = recipe(&workspace, "halved.toml", &halved, model);
        for (teacher, out) in [(student, "halved"), ("folder", "halved-too")] {
            let set = format!("teacher={teacher}");
            workspace.succeed(&["distill", &halved, "--set", &set, "--out", out]);
            assert_eq!(caches(&workspace).len(), cached, "{teacher}");
        }
    }
}
