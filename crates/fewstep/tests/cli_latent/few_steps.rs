//! Models of few steps of other tools, in the folders of SDXL-Turbo and SDXL-Lightning.

use super::*;

#[test]
fn folders_of_turbo_and_lightning_are_sampled_in_few_steps_without_a_warning() {
    let workspace = workspace();
    workspace::copy(&golden("sdxl"), &workspace.path("model"));
    for (scheduler, sampler) in [("euler", "ddim"), ("ancestral", "ancestral")] {
        let config = golden("few_steps").join(format!("{scheduler}.json"));
        let target = workspace.path("model/scheduler/scheduler_config.json");
        std::fs::copy(config, target).expect("copied");
        let mut images = vec![];
        for steps in ["1", "2", "3", "4"] {
            let words = ["sample", "--model", "model", "--steps", steps, "--json"];
            let more = ["--prompt", "a cat", "--seed", "3", "--out", "x.png"];
            let (said, warned) = workspace.succeed(&[words, more].concat());
            assert!(!warned.contains("warning"), "{warned}");
            let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
            assert!(
                said["sampler"].as_str().expect("a name").contains(sampler),
                "{said}"
            );
            // Without guidance by default: one call a step.
            assert_eq!(said["network_calls"].to_string(), steps);
            images.push(std::fs::read(workspace.path("x.png")).expect("there"));
        }
        images.dedup();
        assert_eq!(images.len(), 4, "{scheduler}");
    }
}
