//! What training keeps in memory, counted from configurations, in numbers of 32 bits. Every block
//! declares its [`Stage`] next to its forward pass; here is what follows from a list of them.

use super::LoraConfig;
use std::collections::HashSet;

/// What of a network is trained, for what it keeps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainedPart {
    /// All of it.
    All,
    /// All but the weights of the convolutions in blocks, which then keep no inputs.
    AllButConvolutions,
    /// The ControlNet: the encoder of the base then keeps nothing.
    ControlNet,
    /// LoRA. The weights that they are added to are in memory a second time, and so are their
    /// gradients: those of one block at a time with gradient checkpointing, or else all.
    Lora,
}

/// How a network is trained.
#[derive(Clone, Copy, Debug)]
pub struct Training {
    /// Height and width of the images (or latents).
    pub size: [usize; 2],
    /// States of a text, 0 for networks that take none.
    pub states: usize,
    /// What is trained.
    pub part: TrainedPart,
    /// Whether blocks keep only their inputs.
    pub checkpointing: bool,
}

impl Training {
    /// Whether weights with LoRA, and their gradients, come and go block by block.
    fn is_lora_by_blocks(&self) -> bool {
        self.part == TrainedPart::Lora && self.checkpointing
    }

    /// All of a network, for questions about its parameters: there is no image.
    pub(crate) const OF_PARAMETERS: Self = Self {
        size: [1, 1],
        states: 0,
        part: TrainedPart::All,
        checkpointing: false,
    };

    /// The same of the weights with LoRA.
    pub(crate) const OF_LORA: Self = Self {
        part: TrainedPart::Lora,
        ..Self::OF_PARAMETERS
    };
}

/// The table of scores of an attention, for one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionTable {
    /// Heads.
    pub heads: usize,
    /// Queries.
    pub tokens: usize,
    /// Keys.
    pub context: usize,
}

/// What one layer or block has to do with memory; all but the gradients for one sample.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stage {
    /// All that it keeps for its backward pass.
    pub(crate) kept: usize,
    /// The same with gradient checkpointing: of a block its input; of other layers what the
    /// framework does not compute again, which is convolutions and sums.
    pub(crate) kept_checkpointed: usize,
    /// The most that its backward pass holds beyond what it keeps: gradients of maps.
    pub(crate) working: usize,
    /// The most that a forward pass without graph holds.
    pub(crate) forward: usize,
    /// Gradients of its parameters.
    pub(crate) gradients: usize,
    /// Weights of its largest convolution.
    pub(crate) convolution: usize,
    /// The map that a skip was concatenated to. Its gradient is held as a whole until the backward
    /// pass has come to the block that left the skip.
    pub(crate) concatenated: usize,
    /// The map that it leaves as a skip.
    pub(crate) skip: usize,
}

impl Stage {
    /// What it keeps from its forward pass to its backward pass.
    fn kept_in(&self, training: &Training) -> usize {
        match training.checkpointing {
            true => self.kept_checkpointed,
            false => self.kept,
        }
    }
}

/// Numbers that one sample keeps for the backward pass when its forward pass is done.
pub(crate) fn kept(stages: &[Stage], training: &Training) -> usize {
    let kept = stages.iter().map(|stage| stage.kept_in(training));
    kept.fold(0, usize::saturating_add)
}

/// The most numbers that forward and backward pass of `samples` samples hold, among them the
/// gradients of the parameters, and weights with LoRA. Parameters come on top.
///
/// Gradients of parameters come one by one while what the samples keep goes: the peak is somewhere
/// in between.
pub(crate) fn peak(stages: &[Stage], training: &Training, samples: usize) -> usize {
    let mut kept = kept(stages, training);
    let (mut gradients, mut concatenated) = (merged(stages, training), vec![]);
    let mut peak = 0;
    for stage in stages.iter().rev() {
        gradients = match training.is_lora_by_blocks() {
            true => 2 * stage.gradients,
            false => gradients + stage.gradients,
        };
        let held: usize = concatenated.iter().sum();
        // What earlier stages keep, and this one, computed again where it kept less.
        kept = kept.saturating_sub(stage.kept_in(training));
        let of_sample = [held, stage.kept, stage.working];
        let of_sample = of_sample.into_iter().fold(kept, usize::saturating_add);
        peak = peak.max(samples.saturating_mul(of_sample).saturating_add(gradients));
        if stage.concatenated > 0 {
            concatenated.push(stage.concatenated);
        }
        if stage.skip > 0 {
            concatenated.pop();
        }
    }
    peak
}

/// The most numbers that a forward pass without graph holds for one sample: the skips, and what its
/// largest block needs besides.
pub(crate) fn forward(stages: &[Stage]) -> usize {
    let (mut skips, mut peak) = (vec![], 0);
    for stage in stages {
        if stage.skip > 0 {
            skips.push(stage.skip);
        }
        if stage.concatenated > 0 {
            // It is a part of what this block is given.
            skips.pop();
        }
        let held = skips.iter().copied().fold(0, usize::saturating_add);
        peak = peak.max(held.saturating_add(stage.forward));
    }
    peak
}

/// Numbers of one sample that forward and backward pass come to hold where freed memory only serves
/// tensors of the same size: all that is kept, and what the backward pass works with, once for every
/// size that blocks have.
pub(crate) fn pooled(stages: &[Stage], training: &Training) -> usize {
    let once = |of: fn(&Stage) -> usize| {
        let mut sizes = HashSet::new();
        let new = stages
            .iter()
            .filter(|stage| sizes.insert((stage.kept, stage.working)));
        new.map(of).fold(0, usize::saturating_add)
    };
    let working = once(|stage| stage.working);
    let plain = stages.iter().map(|stage| stage.kept);
    let plain = plain.fold(working, usize::saturating_add);
    match training.checkpointing {
        false => plain,
        // A block that is computed again keeps for that time what it would keep without.
        true => kept(stages, training)
            .saturating_add(once(|stage| stage.kept))
            .saturating_add(working)
            .min(plain),
    }
}

/// The same of a forward pass without graph.
pub(crate) fn pooled_forward(stages: &[Stage]) -> usize {
    let mut sizes = HashSet::new();
    stages.iter().fold(0, |sum: usize, stage| {
        let forward = match sizes.insert(stage.forward) {
            true => stage.forward,
            false => 0,
        };
        sum.saturating_add(stage.skip).saturating_add(forward)
    })
}

/// Gradients of parameters that come to be in memory where freed memory only serves tensors of the
/// same size.
pub(crate) fn pooled_gradients(stages: &[Stage], training: &Training) -> usize {
    match training.is_lora_by_blocks() {
        false => gradients(stages),
        true => {
            let sizes: HashSet<usize> = stages.iter().map(|stage| stage.gradients).collect();
            sizes.into_iter().sum()
        }
    }
}

/// All gradients of parameters.
pub(crate) fn gradients(stages: &[Stage]) -> usize {
    stages.iter().map(|stage| stage.gradients).sum()
}

/// Weights with LoRA that are kept for the backward pass.
pub(crate) fn merged(stages: &[Stage], training: &Training) -> usize {
    match training.part == TrainedPart::Lora && !training.checkpointing {
        true => gradients(stages),
        false => 0,
    }
}

/// Counts the weights of layers, as far as they are trained.
#[derive(Clone, Copy)]
pub(crate) struct Counter<'a> {
    pub(crate) training: &'a Training,
    pub(crate) lora: Option<&'a LoraConfig>,
    /// Gradients go through the layers and to none of their parameters.
    pub(crate) frozen: bool,
}

/// The weight of a layer: whether it gets a gradient, and how many numbers that has.
pub(crate) struct Weight {
    pub(crate) trained: bool,
    pub(crate) gradients: usize,
}

impl Weight {
    /// What the layer keeps of an input of this size: the gradient of the weight needs it.
    pub(crate) fn keeps(&self, input: usize) -> usize {
        usize::from(self.trained) * input
    }
}

impl Counter<'_> {
    /// A layer of this name; `inputs` of each output include the positions of a kernel.
    pub(crate) fn weight(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
        biases: usize,
    ) -> Weight {
        let target = |target: &String| {
            let rest = target.strip_suffix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let (trained, biases) = match self.training.part {
            TrainedPart::Lora => {
                let targets = self.lora.map_or(&[][..], |lora| &lora.targets);
                (targets.iter().any(target), 0)
            }
            _ => (!self.frozen, biases),
        };
        Weight {
            trained,
            gradients: usize::from(trained) * (inputs * outputs + biases),
        }
    }

    /// A 3x3 convolution of a block.
    pub(crate) fn convolution(&self, name: &str, inputs: usize, outputs: usize) -> Weight {
        let whole = self.weight(name, 9 * inputs, outputs, outputs);
        match self.training.part {
            TrainedPart::AllButConvolutions => Weight {
                trained: false,
                gradients: usize::from(whole.trained) * outputs,
            },
            TrainedPart::All | TrainedPart::ControlNet | TrainedPart::Lora => whole,
        }
    }

    /// The scales and shifts of normalisations.
    pub(crate) fn affine(&self, channels: usize) -> Weight {
        let trained = !self.frozen && self.training.part != TrainedPart::Lora;
        Weight {
            trained,
            gradients: usize::from(trained) * 2 * channels,
        }
    }
}
