//! What a run can be resumed on, and with: through the real program.

mod tiny;
mod workspace;

use tiny::{remade, save, teacher, write_image};
use workspace::{TRAIN, Workspace, assert_same_run, log, weights, write_idx};

/// A teacher without dropout whose learning rate stays the same.
fn steady() -> String {
    TRAIN
        .replace("dropout = 0.1\n", "")
        .replace("warmup = 5", "warmup = 5\nanneal = \"constant\"")
}

/// Words with `--set` before each of some settings.
fn with<'a>(words: &[&'a str], settings: &[&'a str]) -> Vec<&'a str> {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    words.iter().copied().chain(settings).collect()
}

#[test]
fn a_run_resumes_on_the_data_that_it_was_started_on() {
    let workspace = Workspace::new();
    let image = |class: &str, kind: usize| {
        let file = workspace.path(&format!("images/{class}/{kind}.png"));
        write_image(&file, 8, kind);
    };
    (0..4).for_each(|kind| image(["a", "b"][kind % 2], kind));
    let train = workspace.recipe("train.toml", TRAIN);
    let data = "data={kind=\"folder\", path=\"images\", channels=1}";
    let words = with(&["train", &train, "--out", "run"], &[data, "updates=6"]);
    workspace.succeed(&words);
    std::fs::remove_dir_all(workspace.path("run/checkpoints/000000000048-001")).expect("removed");
    let resume = [&words[..], &["--resume"]].concat();

    image("c", 5);
    workspace.refuse(&resume, &["the class `c` is new", "2 classes then, 3 now"]);
    std::fs::remove_dir_all(workspace.path("images/c")).expect("removed");
    std::fs::rename(workspace.path("images/b"), workspace.path("images/d")).expect("renamed");
    workspace.refuse(&resume, &["run", "the class `d` is new"]);
    std::fs::rename(workspace.path("images/d"), workspace.path("images/b")).expect("renamed");
    image("a", 6);
    workspace.refuse(&resume, &["the data has changed"]);
    std::fs::remove_file(workspace.path("images/a/6.png")).expect("removed");
    write_image(&workspace.path("images/a/0.png"), 8, 7);
    workspace.refuse(&resume, &["the data has changed"]);
    image("a", 0);
    workspace.succeed(&resume);
}

#[test]
fn a_run_resumes_with_the_teacher_that_it_was_started_with() {
    let workspace = Workspace::new();
    let folder = workspace.folder.path();
    let names = ["circle", "square", "star"];
    for (kind, class) in names.iter().enumerate() {
        write_image(&folder.join(format!("shapes/{class}/0.png")), 16, kind);
        write_image(&folder.join(format!("sketches/{class}/0.png")), 16, kind);
    }
    let tiny = teacher();
    save(&tiny, folder, "model");
    let recipe = "seed = 4\nteacher = \"model\"\nw = 1.0\n[data]\nkind = \"folder\"\npath = \"shapes\"\nchannels = 1\n[guided]\nupdates = 2\noptim = { batch = 4, lr = 1e-3 }\n";
    let recipe = workspace.recipe("distill.toml", recipe);
    let words = ["distill", &recipe, "--out", "run"];
    workspace.succeed(&words);
    let resume = [&words[..], &["--resume"]].concat();
    // The same teacher in another place.
    save(&tiny, folder, "moved");
    let moved = with(&resume, &["teacher=moved"]);
    workspace.succeed(&moved);

    let mut other = tiny.clone();
    other.recipe.prediction = fewstep_diffusion::PredictionKind::X;
    save(&other, folder, "moved");
    workspace.refuse(
        &moved,
        &["the teacher's prediction, schedule or resolution"],
    );
    save(&remade(&tiny, 4, [1, 16, 16], &names), folder, "moved");
    workspace.refuse(&moved, &["the teacher's weights are others"]);

    // Given control images are data too.
    let method = "seed = 4\nmethod = \"codi\"\nteacher = \"model\"\nupdates = 2\noptim = { batch = 4, lr = 1e-3 }\n[data]\nkind = \"folder\"\npath = \"shapes\"\nchannels = 1\n[condition]\nkind = \"image\"\npath = \"sketches\"\n";
    let recipe = workspace.recipe("codi.toml", method);
    let words = ["distill", &recipe, "--out", "codi"];
    workspace.succeed(&words);
    write_image(&folder.join("sketches/star/0.png"), 16, 8);
    let resume = [&words[..], &["--resume"]].concat();
    workspace.refuse(&resume, &["the data has changed", "control images"]);
}

/// Settings that change no bit may be other than at the start, and so may the words for a path.
#[test]
fn what_changes_no_result_may_change() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", &steady());
    let batches = ["optim.batch=64", "optim.micro_batch=64", "updates=6"];
    let words = |out| with(&["train", &train, "--out", out], &batches);
    workspace.succeed(&words("whole"));
    workspace.succeed(&words("run"));
    for rest in ["models", "checkpoints/000000000384-001"] {
        std::fs::remove_dir_all(workspace.path("run").join(rest)).expect("removed");
    }
    let data = format!("data.path={}/../data", workspace.path("data").display());
    let free = [
        "run.checkpoint_every=1",
        "run.keep=1",
        "optim.micro_batch=32",
        &data,
    ];
    let resume = with(&[&words("run")[..], &["--resume"]].concat(), &free);
    workspace.succeed(&resume);
    let (whole, run) = (workspace.path("whole"), workspace.path("run"));
    assert_same_run(&whole, &run, &["teacher"]);
    // The lines of the log are windows of updates.
    workspace.succeed(&with(&resume, &["run.log_every=5"]));

    let other_sums = with(&resume, &["optim.micro_batch=16"]);
    workspace.refuse(&other_sums, &["micro-batches of 32", "micro_batch"]);
    let dropout = with(&["train", &train, "--out", "dropout"], &batches);
    let dropout = with(&dropout, &["network.dropout=0.1"]);
    workspace.succeed(&dropout);
    let resume = [&dropout[..], &["--resume"]].concat();
    let smaller = with(&resume, &["optim.micro_batch=32"]);
    workspace.refuse(&smaller, &["dropout", "micro_batch"]);

    // Another place with the same contents is the same data.
    let elsewhere = workspace.path("elsewhere");
    std::fs::create_dir(&elsewhere).expect("made");
    write_idx(&elsewhere, 40, 40);
    let moved = format!("data.path={}", elsewhere.display());
    workspace.succeed(&with(&resume, &[&moved]));
    write_idx(&elsewhere, 39, 39);
    workspace.refuse(&with(&resume, &[&moved]), &["the data has changed"]);
}

/// With a constant learning rate, a run that is given more updates is the longer run.
#[test]
fn a_run_may_be_given_more_updates() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", &steady());
    let words = |out| vec!["train", &train, "--out", out];
    let resume = |out, set: &'static str| with(&[&words(out)[..], &["--resume"]].concat(), &[set]);
    workspace.succeed(&with(&words("whole"), &["updates=14"]));
    // Before its first checkpoint, after its end, and in between.
    workspace.succeed(&with(&words("run"), &["updates=2"]));
    let (_, said) = workspace.succeed(&resume("run", "updates=6"));
    assert!(said.contains("`teacher` has 6 updates now"), "{said}");
    assert!(
        said.contains("learning rate of those that are done is the same"),
        "{said}"
    );
    for rest in ["models", "checkpoints/000000000048-001"] {
        std::fs::remove_dir_all(workspace.path("run").join(rest)).expect("removed");
    }
    workspace.succeed(&resume("run", "updates=14"));
    let (whole, run) = (workspace.path("whole"), workspace.path("run"));
    assert_same_run(&whole, &run, &["teacher"]);
    workspace.refuse(&resume("run", "updates=13"), &["done 14 updates", "13 now"]);
    let again = resume("run", "updates=14");
    let (_, said) = workspace.succeed(&again);
    assert!(!said.contains("note:"), "{said}");

    // An earlier version kept no optimiser at the end: it goes on from the checkpoint before.
    let end = workspace.path("run/checkpoints/000000000112-001");
    for file in std::fs::read_dir(&end).expect("there").flatten() {
        if file.file_name() != "position.json" {
            std::fs::remove_file(file.path()).expect("removed");
        }
    }
    let before = workspace.path("run/checkpoints/000000000096-000");
    assert!(before.exists());
    workspace.succeed(&resume("run", "updates=16"));
    workspace.succeed(&with(&words("longer"), &["updates=16"]));
    let longer = workspace.path("longer");
    assert!(weights(&run, "teacher") == weights(&longer, "teacher"));
    for name in ["raw.safetensors", "optimizer.bin"] {
        let file = run.join("checkpoints/000000000128-001").join(name);
        std::fs::remove_file(file).expect("removed");
    }
    std::fs::remove_dir_all(run.join("checkpoints/000000000096-000")).ok();
    std::fs::remove_dir_all(run.join("checkpoints/000000000112-001")).ok();
    workspace.refuse(&resume("run", "updates=20"), &["optimiser", "more updates"]);

    // A rate that falls to 0 was planned for another number.
    let set = ["optim.anneal=linear", "optim.warmup=0"];
    let falling = with(&words("falling"), &set);
    workspace.succeed(&with(&falling, &["updates=4"]));
    let longer = with(&[&falling[..], &["--resume"]].concat(), &["updates=8"]);
    let (_, said) = workspace.succeed(&longer);
    for part in [
        "planned for 4",
        "2.500e-4 in update 4",
        "5.000e-4",
        "another",
    ] {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    assert_eq!(log(&workspace.path("falling")).len(), 4);
}

/// Of several phases only those that no other has started from may have more updates.
#[test]
fn later_phases_may_be_given_more_updates() {
    let workspace = Workspace::new();
    let folder = workspace.folder.path();
    write_image(&folder.join("shapes/circle/0.png"), 16, 0);
    write_image(&folder.join("shapes/square/0.png"), 16, 1);
    save(
        &remade(&teacher(), 2, [1, 16, 16], &["circle", "square"]),
        folder,
        "model",
    );
    let recipe = "seed = 4\nteacher = \"model\"\nw = 1.0\n[data]\nkind = \"folder\"\npath = \"shapes\"\nchannels = 1\n[guided]\nupdates = 2\noptim = { batch = 4, lr = 1e-3 }\n[progressive]\nstart_steps = 2\nend_steps = 1\nupdates = 2\noptim = { batch = 4, lr = 1e-3, anneal = \"constant\" }\n";
    let recipe = workspace.recipe("distill.toml", recipe);
    let words = |out| vec!["distill", &recipe, "--out", out];
    workspace.succeed(&words("run"));
    let resume = |set| with(&[&words("run")[..], &["--resume"]].concat(), set);
    workspace.refuse(
        &resume(&["guided.updates=3"]),
        &["`guided` is done", "later phases"],
    );
    workspace.succeed(&resume(&["progressive.updates=5"]));
    workspace.succeed(&with(&words("whole"), &["progressive.updates=5"]));
    let [run, whole] = ["run", "whole"].map(|out| workspace.path(out));
    assert!(weights(&run, "steps-1") == weights(&whole, "steps-1"));
    assert!(weights(&run, "guided") == weights(&whole, "guided"));
}

#[test]
fn there_must_be_a_run_to_resume() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let words = ["train", &train, "--out", "run", "--resume"];
    workspace.refuse(&words, &["no run in run", "without --resume"]);
    let dry = [&words[..], &["--dry-run"]].concat();
    workspace.refuse(&dry, &["no run in run", "without --resume"]);
    assert!(!workspace.path("run").exists());
    std::fs::create_dir(workspace.path("run")).expect("made");
    workspace.refuse(&words, &["no run in run", "without --resume"]);
    let first = with(&words[..4], &["updates=1"]);
    workspace.succeed(&first);
    std::fs::remove_dir_all(workspace.path("run/checkpoints")).expect("removed");
    let (_, said) = workspace.succeed(&[&first[..], &["--resume"]].concat());
    assert!(said.contains("no checkpoint yet"), "{said}");
}

/// A recipe with another result is refused before teacher and data are read.
#[test]
fn another_recipe_is_refused_first() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("distill.toml", DISTILL_WITHOUT_TEACHER);
    let run = workspace.path("run");
    std::fs::create_dir(&run).expect("made");
    std::fs::write(run.join("recipe.toml"), DISTILL_WITHOUT_TEACHER).expect("written");
    let words = ["distill", &recipe, "--out", "run", "--resume"];
    workspace.refuse(&words, &["nowhere"]);
    workspace.refuse(
        &[&words[..], &["--set", "seed=9"]].concat(),
        &["started with another recipe", "`seed` was 2 and is 9 now"],
    );
}

const DISTILL_WITHOUT_TEACHER: &str = r#"
seed = 2
teacher = "nowhere/at/all"
w = [0.0, 4.0]
[data]
kind = "idx"
path = "nowhere"
[guided]
updates = 4
[guided.optim]
batch = 4
lr = 1e-3
"#;
