//! What training keeps in memory, predicted and counted. An allocator that counts serves this whole
//! program, so that there is one test in it.

use burn::backend::GradientCheckpointingStrategy;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::{Inputs, Network, PromptEmbeds};
use fewstep_nn::{
    ControlNetConfig, Fusion, LoraConfig, Modulation, Resampling, TextAttention, TrainedPart,
    Training, UNet, UNetConfig, WEmbedding,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SAMPLES: usize = 4;
const STATES: usize = 12;

fn pixels() -> UNetConfig {
    UNetConfig {
        channels: 3,
        patch: 2,
        widths: vec![32, 64],
        attention: vec![false, true],
        head: 16,
        groups: 8,
        classes: 10,
        ..UNetConfig::default()
    }
}

fn text() -> UNetConfig {
    UNetConfig {
        channels: 4,
        widths: vec![32, 64],
        blocks: 2,
        attention: vec![true, true],
        head: 16,
        groups: 8,
        text: Some(TextAttention {
            width: 24,
            linear: false,
        }),
        modulation: Modulation::Add,
        w: Some(WEmbedding {
            dim: 16,
            scale: 100.0,
        }),
        ..UNetConfig::default()
    }
}

fn with_controlnet(fusion: Fusion) -> UNetConfig {
    UNetConfig {
        controlnet: Some(ControlNetConfig {
            channels: 3,
            stem: vec![16, 32],
            fusion,
            unit: false,
        }),
        ..pixels()
    }
}

fn with_lora(targets: &[&str]) -> UNetConfig {
    UNetConfig {
        lora: Some(LoraConfig {
            rank: 4,
            alpha: 4.0,
            targets: targets.iter().map(|t| t.to_string()).collect(),
        }),
        ..text()
    }
}

/// As SDXL's levels are, with several layers of a transformer one after another.
fn deep(config: UNetConfig) -> UNetConfig {
    UNetConfig {
        depths: vec![1, 4],
        ..config
    }
}

fn forward(network: &UNet, training: &Training) -> Tensor<4> {
    let device = Device::flex();
    let config = network.config();
    let [height, width] = training.size;
    let states = config
        .text
        .map(|text| Tensor::<3>::ones([SAMPLES, training.states, text.width], &device));
    let inputs = Inputs {
        classes: (config.classes > 0).then(|| vec![Some(1); SAMPLES]),
        w: config.w.map(|_| vec![1.0; SAMPLES]),
        control: config
            .controlnet
            .as_ref()
            .map(|controlnet| Tensor::ones([SAMPLES, controlnet.channels, height, width], &device)),
        prompt: states.map(|states| PromptEmbeds {
            uncond: states.clone().into(),
            cond: states.into(),
        }),
        ..Inputs::default()
    };
    let z = Tensor::ones([SAMPLES, config.channels, height, width], &device);
    network.forward(z, &[0.5; SAMPLES], &inputs)
}

struct Checkpointing;

impl ModuleMapper for Checkpointing {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let strategy = GradientCheckpointingStrategy::Balanced;
        param.map(|value| value.with_gradient_checkpointing_strategy(strategy))
    }
}

/// Numbers in memory after a forward pass, the most during both passes, and the most during a
/// forward pass without graph, beyond those of the network.
fn counted(config: &UNetConfig, training: &Training) -> [usize; 3] {
    let network = UNet::new(config, 1, &Device::flex()).expect("valid");
    // Draws all parameters.
    forward(&network, training);
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    forward(&network, training);
    let answer = PEAK.load(Relaxed) - before;
    let mut network = network.unfreeze().train();
    if training.checkpointing {
        network = network.map(&mut Checkpointing);
    }
    network = match training.part {
        TrainedPart::All => network,
        TrainedPart::AllButConvolutions => network.freeze_convolutions(),
        TrainedPart::ControlNet => network.freeze_base(),
        TrainedPart::Lora => network.freeze_all_but_lora(),
    };
    // The first of all passes starts what is started once.
    forward(&network, training).square().sum().backward();
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let loss = forward(&network, training).square().sum();
    let kept = LIVE.load(Relaxed) - before;
    let gradients = loss.backward();
    let peak = PEAK.load(Relaxed) - before;
    drop(gradients);
    [kept / 4, peak / 4, answer / 4]
}

#[test]
fn predictions_are_what_an_allocator_counts() {
    let blocks = UNetConfig {
        resampling: Resampling::Block,
        ..pixels()
    };
    let dropping = UNetConfig {
        dropout: 0.1,
        ..pixels()
    };
    let attention = with_lora(&["to_q", "to_k", "to_v", "to_out.0"]);
    let more = with_lora(&["conv1", "conv2", "to_q", "to_v", "ff.net.2"]);
    let [zero, mix] = [Fusion::ZeroConv, Fusion::Mix].map(with_controlnet);
    let cases = [
        ("pixels", pixels(), TrainedPart::All),
        ("resampling in blocks", blocks.clone(), TrainedPart::All),
        ("no convolutions", pixels(), TrainedPart::AllButConvolutions),
        (
            "no convolutions, resampling in blocks",
            blocks,
            TrainedPart::AllButConvolutions,
        ),
        (
            "no convolutions, text",
            text(),
            TrainedPart::AllButConvolutions,
        ),
        ("dropout", dropping, TrainedPart::All),
        ("ControlNet and base", zero.clone(), TrainedPart::All),
        ("ControlNet", zero, TrainedPart::ControlNet),
        ("mixing ControlNet", mix, TrainedPart::ControlNet),
        ("text", text(), TrainedPart::All),
        ("deep", deep(text()), TrainedPart::All),
        ("deep, LoRA", deep(attention.clone()), TrainedPart::Lora),
        ("LoRA of attention", attention, TrainedPart::Lora),
        ("LoRA of more", more, TrainedPart::Lora),
    ];
    let mut wrong = vec![];
    for (name, config, part) in cases {
        for checkpointing in [false, true] {
            // Large enough that the nodes of the graph themselves count for little.
            let size = match config.text {
                Some(_) => [40, 40],
                None => [96, 96],
            };
            let training = Training {
                size,
                states: config.text.map_or(0, |_| STATES),
                part,
                checkpointing,
            };
            let counted = counted(&config, &training);
            let predicted = [
                SAMPLES * config.kept(&training) + config.merged(&training),
                config.peak(&training, SAMPLES),
                SAMPLES * config.forward(size, training.states) + config.largest_merged(),
            ];
            let [kept, peak, answer] = [0, 1, 2].map(|i| predicted[i] as f64 / counted[i] as f64);
            let line = format!(
                "{name}, checkpointing {checkpointing}: predicted {kept:.3} of what is kept, {peak:.3} of the peak, {answer:.3} without graph"
            );
            println!("{line}");
            // With checkpointing the framework keeps some more until the backward pass begins, in
            // case it is needed.
            // The nodes of the graph count for more where convolutions keep no maps.
            let tolerances = match (checkpointing, part) {
                (true, _) => [0.25, 0.12, 0.12],
                (false, TrainedPart::AllButConvolutions) => [0.03, 0.03, 0.12],
                (false, _) => [0.02, 0.03, 0.12],
            };
            let off = [kept, peak, answer].map(|ratio| (ratio - 1.0).abs());
            if off.iter().zip(tolerances).any(|(off, most)| *off > most) {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
