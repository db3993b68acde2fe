//! A method of two players: distribution matching (2311.18828) of an analytic mixture. A one-step
//! generator moves its images along the difference of two scores: the teacher's, known in closed
//! form, and that of its own images, which a second network learns meanwhile.

mod distribution_matching;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use distribution_matching::{MEAN, MatchingOfMixture, Others, SLOW_SCORE, VARIANCE};
use fewstep_data::{Dataset, Examples, ImageShape};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{
    Denoiser, DiffusionModel, DistilledFor, Guidance, Inputs, PredictionKind, Provenance, Role,
    SamplerRecipe, Schedule, ScheduleConfig,
};
use fewstep_distill::World;
use fewstep_distill::method::matching::{MatchingConfig, MatchingMethod};
use fewstep_distill::method::{FAKE_SCORE, Method, Trained, Turn};
use fewstep_distill::optim::{Ema, OptimConfig};
use fewstep_distill::recipe::RunConfig;
use fewstep_distill::run::{Ended, Event, LogRecord, Phase, Run, RunError, Target};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, Precision, UNetConfig, WEmbedding};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const SIDE: usize = 4;

/// A small network without training.
fn initial() -> Model {
    let config = UNetConfig {
        channels: 1,
        patch: 1,
        widths: vec![16],
        blocks: 1,
        attention: vec![false],
        middle_attention: false,
        head: 8,
        groups: 4,
        ..UNetConfig::default()
    };
    Model {
        network: Backbone::new(&config.into(), 3, &Device::flex()).expect("valid"),
        recipe: SamplerRecipe {
            version: 1,
            role: Role::Teacher,
            prediction: PredictionKind::V,
            schedule: ScheduleConfig::default(),
            guidance: Guidance::None,
            image_guidance: None,
            resolution: [1, SIDE, SIDE],
            classes: vec![],
            clip: false,
            clip_skip: 0,
            control: None,
            default_sampler: None,
            provenance: Provenance::default(),
        },
    }
}

fn run(folder: &Path, others: Others, batch: usize, updates: u64, every: u64, ratio: u64) -> Run {
    let shape = ImageShape {
        channels: 1,
        height: SIDE,
        width: SIDE,
    };
    let pixels = vec![0; 8 * shape.len()];
    let images = Dataset::from_parts("blank", shape, pixels, None, vec![]).expect("valid");
    Run {
        folder: folder.to_path_buf(),
        seed: 5,
        phases: vec![Phase {
            name: "matched".into(),
            method: Arc::new(MatchingOfMixture {
                ratio,
                fake_lr: 2e-3,
                others,
            }),
            lora: None,
            dropout: false,
            teacher_precision: Precision::default(),
            optim: OptimConfig {
                ema: Some(Ema::Decay(0.95)),
                ..OptimConfig::of(batch, 1e-3)
            },
            optim_key: "optim",
            updates,
        }],
        examples: Examples::images(Arc::new(images)),
        components: None,
        flip: false,
        config: RunConfig {
            log_every: every,
            checkpoint_every: every,
            keep: 3,
            ..RunConfig::default()
        },
        device: Device::flex(),
        world: World::default(),
    }
}

/// Runs it from the start, or from its newest checkpoint, until `stops` says so.
fn go(
    run: &Run,
    resume: bool,
    stops: &mut dyn FnMut(Event<'_>) -> bool,
) -> Result<Ended, RunError> {
    let initial = initial();
    let inputs = run.inputs(&initial)?;
    run.run(initial, &inputs, resume, &mut |event| match stops(event) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    })
}

/// Runs it to its end.
fn finish(run: &Run, resume: bool) -> Ended {
    go(run, resume, &mut |_| false).expect("runs")
}

/// The files of the checkpoint at so many samples.
fn checkpoint(run: &Run, clock: u64) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = run.folder.join(format!("checkpoints/{clock:012}-000"));
    let entries = std::fs::read_dir(&folder).expect("the checkpoint is there");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("listed").path();
            let bytes = std::fs::read(&path).expect("read");
            (path.strip_prefix(&folder).expect("in it").into(), bytes)
        })
        .collect();
    files.sort();
    files
}

/// All numbers of an optimiser's file but zeros, sorted: it holds the parameters in the order of a
/// hash map, with zeros between them.
fn moments(file: &[u8]) -> Vec<&[u8]> {
    // Magic, version, size of the metadata, metadata, and tensors from the next multiple of 256.
    let metadata = u32::from_le_bytes(file[6..10].try_into().expect("four bytes")) as usize;
    let start = (10 + metadata).next_multiple_of(256);
    let mut numbers: Vec<&[u8]> = file[start..].chunks(4).collect();
    numbers.retain(|number| *number != [0; 4]);
    assert!(numbers.len() > 1000, "{} numbers", numbers.len());
    numbers.sort();
    numbers
}

/// The log without speed.
fn log(run: &Run) -> Vec<LogRecord> {
    let text = std::fs::read_to_string(run.folder.join("metrics.jsonl")).expect("a log");
    let record = |line: &str| LogRecord {
        samples_per_second: 0.0,
        exchange_share: None,
        ..serde_json::from_str(line).expect("a record")
    };
    text.lines().map(record).collect()
}

/// A run that is stopped between checkpoints and resumed is the run that never was: all networks,
/// their averages, their optimisers and the log, bit for bit. The checkpoints are after 4 and 8
/// updates, the student moves in one of 3, and the second score in one of 2.
#[test]
fn a_stopped_run_of_players_with_turns_resumes_exactly() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |name: &str| run(&folder.path().join(name), Others::TwoScores, 8, 11, 4, 3);
    let (whole, stopped) = (of("whole"), of("stopped"));
    for run in [&whole, &stopped] {
        std::fs::create_dir(&run.folder).expect("made");
    }
    finish(&whole, false);
    // Before the first checkpoint, when it is due but not written, after it, when the second is due,
    // and after that.
    for stop in [2, 4, 6, 8, 10] {
        let mut updates = None;
        let mut count = |event: Event<'_>| match event {
            Event::PhaseStarted { updates: done, .. } => updates = Some(done),
            Event::Updated { .. } => {
                let done = updates.map_or(0, |done| done + 1);
                updates = Some(done);
                if done == stop {
                    std::panic::resume_unwind(Box::new("killed"));
                }
            }
            _ => {}
        };
        let mut count = |event: Event<'_>| {
            count(event);
            false
        };
        let killed = catch_unwind(AssertUnwindSafe(|| go(&stopped, true, &mut count)));
        assert!(killed.is_err(), "the run ended before it could be stopped");
    }
    finish(&stopped, true);

    let [a, b] = [&whole, &stopped].map(|run| checkpoint(run, 64));
    let names: Vec<_> = a.iter().map(|(name, _)| name.clone()).collect();
    let expected = [
        "average.safetensors",
        "fake-score-average.bpk",
        "fake-score-optimizer.bin",
        "fake-score-raw.bpk",
        "optimizer.bin",
        "position.json",
        "raw.safetensors",
        "slow-score-average.bpk",
        "slow-score-optimizer.bin",
        "slow-score-raw.bpk",
    ];
    assert_eq!(names, expected.map(PathBuf::from));
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        let same = match name.to_string_lossy().ends_with("optimizer.bin") {
            true => moments(a) == moments(b),
            false => a == b,
        };
        assert!(same, "{} differs", name.display());
    }
    let [a, b] = [&whole, &stopped].map(|run| run.model(&run.phases[0]).expect("a model"));
    assert_eq!(a.weights_hash(), b.weights_hash());
    assert_eq!(log(&whole), log(&stopped));
    let first = &log(&whole)[0];
    let names: Vec<&str> = first.players.iter().map(|player| &*player.name).collect();
    assert_eq!(names, [FAKE_SCORE, SLOW_SCORE]);
}

/// Stopped by its observer in the middle of a window of the log, it says where, and goes on exactly.
#[test]
fn a_run_that_is_told_to_stop_writes_a_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |name: &str| run(&folder.path().join(name), Others::FakeScore, 8, 11, 4, 2);
    let (whole, stopped) = (of("whole"), of("stopped"));
    for run in [&whole, &stopped] {
        std::fs::create_dir(&run.folder).expect("made");
    }
    assert_eq!(finish(&whole, false), Ended::Done);
    let mut updates = 0;
    for stop in [1, 3, 7] {
        let ended = go(&stopped, updates > 0, &mut |event| {
            updates += u64::from(matches!(event, Event::Updated { .. }));
            updates == stop
        });
        let checkpoint = format!("checkpoints/{:012}-000", 8 * stop);
        let expected = Ended::Stopped {
            phase: "matched".into(),
            updates: stop,
            checkpoint: stopped.folder.join(checkpoint),
        };
        assert_eq!(ended.expect("stops"), expected);
    }
    // In its last update it ends.
    let ended = go(&stopped, true, &mut |event| {
        updates += u64::from(matches!(event, Event::Updated { .. }));
        updates == 11
    });
    assert_eq!(ended.expect("ends"), Ended::Done);
    let [a, b] = [&whole, &stopped].map(|run| run.model(&run.phases[0]).expect("a model"));
    assert_eq!(a.weights_hash(), b.weights_hash());
    assert_eq!(log(&whole), log(&stopped));
}

/// Runs it in so many threads, as the ranks of a world with one folder, until `stop` updates are
/// done. Every rank must end alike.
fn go_together(folder: &Path, size: usize, resume: bool, stop: u64) -> Ended {
    let ranks = World::of_threads(size, Duration::from_secs(60));
    let ended = thread::scope(|scope| {
        let rank = |world: World| {
            scope.spawn(move || {
                // Only one rank is told to stop, and all must.
                let stops = world.rank() + 1 == world.size();
                let mut updates = 0;
                let run = Run {
                    world,
                    ..run(folder, Others::TwoScores, 128, 5, 4, 3)
                };
                let ended = go(&run, resume, &mut |event| {
                    match event {
                        Event::PhaseStarted { updates: done, .. } => updates = done,
                        Event::Updated { .. } => updates += 1,
                        _ => {}
                    }
                    stops && updates == stop
                });
                ended.expect("runs")
            })
        };
        let threads: Vec<_> = ranks.into_iter().map(rank).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|ended| ended.expect("no panic"))
            .collect::<Vec<_>>()
    });
    assert!(ended.iter().all(|other| *other == ended[0]), "{ended:?}");
    ended[0].clone()
}

/// A batch of 128 has four parts. However many ranks share them, three included, all networks and
/// the log have the bits of one process; and so has a run that is resumed by another number of them.
#[test]
fn several_ranks_train_all_players_as_one_does() {
    let home = tempfile::tempdir().expect("a folder");
    let of = |name: &str| run(&home.path().join(name), Others::TwoScores, 128, 5, 4, 3);
    let alone = of("alone");
    std::fs::create_dir(&alone.folder).expect("made");
    finish(&alone, false);
    let hash = |run: &Run| run.model(&run.phases[0]).expect("a model").weights_hash();
    let same = |run: &Run| {
        assert_eq!(hash(run), hash(&alone));
        assert_eq!(log(run), log(&alone));
        for ((name, a), (_, b)) in checkpoint(run, 512).iter().zip(&checkpoint(&alone, 512)) {
            // Optimisers have their parameters in an order of their own, and windows times.
            let numbers = !name.ends_with("window.toml") && !name.ends_with("optimizer.bin");
            let is_optimizer = name.to_string_lossy().contains("optimizer");
            assert!(
                a == b || !numbers || is_optimizer,
                "{} differs",
                name.display()
            );
        }
    };
    for size in [2, 3, 4] {
        let run = of(&format!("ranks-{size}"));
        std::fs::create_dir(&run.folder).expect("made");
        assert_eq!(go_together(&run.folder, size, false, u64::MAX), Ended::Done);
        same(&run);
    }
    let resumed = of("resumed");
    std::fs::create_dir(&resumed.folder).expect("made");
    for (size, stop) in [(4, 2), (3, 3), (2, 4)] {
        let ended = go_together(&resumed.folder, size, stop > 2, stop);
        let updates = match ended {
            Ended::Stopped { updates, .. } => updates,
            Ended::Done => panic!("it must stop"),
        };
        assert_eq!(updates, stop);
    }
    assert_eq!(go_together(&resumed.folder, 1, true, u64::MAX), Ended::Done);
    same(&resumed);
}

/// More ranks than parts would have nothing to do.
#[test]
fn ranks_without_a_part_are_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let mut ranks = World::of_threads(2, Duration::from_secs(1));
    let refused = thread::scope(|scope| {
        let first = ranks.remove(0);
        let second = ranks.remove(0);
        let try_it = |world: World| {
            let run = Run {
                world,
                ..run(home.path(), Others::None, 32, 4, 4, 1)
            };
            go(&run, false, &mut |_| false)
                .expect_err("refused")
                .to_string()
        };
        let other = scope.spawn(move || try_it(second));
        let refused = try_it(first);
        let _ = other.join();
        refused
    });
    assert!(
        refused.contains("in 1 part(s) of 32") && refused.contains("2 ranks"),
        "{refused}"
    );
}

/// The generator's images have the mean and the variance of the mixture that it never saw an image
/// of.
#[test]
fn the_generator_matches_the_distribution() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = run(folder.path(), Others::FakeScore, 64, 900, 100, 2);
    finish(&run, false);
    let model = run.model(&run.phases[0]).expect("a model");
    let generator = DiffusionModel {
        network: model.network,
        schedule: Schedule::default(),
        prediction: model.recipe.prediction,
    };
    let moments = |images: Tensor<4>| {
        let mean = f64::from(images.clone().mean().into_scalar::<f32>());
        let square = f64::from(images.square().mean().into_scalar::<f32>());
        (mean, square - mean * mean)
    };
    let samples: Vec<u64> = (0..512).collect();
    let device = Device::flex();
    let z = random::normal(9, &samples, Purpose::InitialNoise, [1, SIDE, SIDE], &device);
    let times = vec![1.0; samples.len()];
    let images = generator.predict(z, &times, &Inputs::default()).x();
    let (mean, variance) = moments(images);
    println!("mean {mean} for {MEAN}, variance {variance} for {VARIANCE}");
    assert!((mean - MEAN).abs() < 0.05, "mean {mean} for {MEAN}");
    assert!(
        (variance / VARIANCE - 1.0).abs() < 0.2,
        "variance {variance} for {VARIANCE}"
    );
}

/// A window of the log is not longer than a checkpoint: without a turn of the student in it, a
/// resumed run would have another log.
#[test]
fn every_window_of_the_log_has_a_turn_of_the_student() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = run(folder.path(), Others::FakeScore, 8, 4, 2, 3);
    let ran = go(&run, false, &mut |_| false).map(drop);
    let planned = run.plan(&initial(), 1).map(drop);
    for refused in [ran, planned] {
        let refused = refused.expect_err("refused").to_string();
        assert!(refused.contains("log_every"), "{refused}");
    }
}

/// The method of the library as a recipe makes it: its turns, and in the plan the teacher and the
/// student that it starts from, besides what both players carry along.
#[test]
fn the_plan_of_matching_has_all_its_networks() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut start = initial();
    start.recipe.role = Role::Student {
        sampler: DistilledFor::Deterministic,
        steps: Some(1),
    };
    let method = MatchingMethod {
        config: MatchingConfig::default(),
        start: Some(start.into()),
        train: Trained::Full,
        weights: None,
        embedding: WEmbedding {
            dim: 8,
            scale: 250.0,
        },
        weighting: None,
        lr: 1e-3,
    };
    assert_eq!((method.turn(), method.steps()), (Turn::every(5), Some(1)));
    let of_mixture = run(folder.path(), Others::FakeScore, 8, 4, 8, 5);
    let mut matching = run(folder.path(), Others::FakeScore, 8, 4, 8, 5);
    let in_part = MatchingMethod {
        train: Trained::AllButConvolutions,
        ..method.clone()
    };
    matching.phases[0].method = Arc::new(method);
    let memory = |run: &Run| run.memory(&initial(), 1, Target::Cpu).expect("fits").host;
    // Teacher and start, and no average of the fake score: one copy of 4 bytes each.
    let more = 4 * initial().network.num_params() as u64;
    let whole = memory(&matching);
    assert_eq!(whole - memory(&of_mixture), more);
    // Convolutions that stay as they are are the start's, and have no moments.
    let convolutions: usize = initial().network.convolution_weights().values().sum();
    matching.phases[0].method = Arc::new(in_part);
    assert!(convolutions > 0 && whole - memory(&matching) >= 4 * 3 * convolutions as u64);
}

/// The plan counts the calls of both players, and the memory of the second.
#[test]
fn the_plan_knows_all_players() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |others| run(folder.path(), others, 8, 4, 2, 2);
    let plan = of(Others::FakeScore).plan(&initial(), 1).expect("fits");
    assert_eq!((plan[0].cost.frozen, plan[0].cost.trained), (3, 2));
    let options = |others| {
        of(others)
            .memory_options(&initial(), 1, Target::Cpu)
            .expect("fits")
    };
    let (alone, both) = (options(Others::None), options(Others::FakeScore));
    assert_eq!(both.len(), 2, "there is no LoRA");
    // Its parameters with gradient, two moments and average, of 4 bytes each.
    let second = 4 * 5 * initial().network.num_params() as u64;
    for (alone, both) in alone.iter().zip(&both) {
        assert_eq!(both.memory.host - alone.memory.host, second);
    }
}
