//! What a network costs, from its configuration alone: its parameters, and what a training step keeps in memory. All of
//! it is counted in numbers of 32 bits.

mod layers;
#[cfg(test)]
mod tests;

use crate::UNetConfig;
use layers::Layers;

/// What of a network is trained, for what it keeps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainedPart {
    /// All of it.
    All,
    /// The ControlNet: the base's looking half then keeps nothing.
    ControlNet,
    /// LoRA. The weights that they change are there once more, as are the gradients of these.
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
    /// Whether blocks keep their inputs alone.
    pub checkpointing: bool,
}

/// What one layer or block has to do with memory; all but the gradients for one sample.
#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    /// All that it keeps for its backward pass.
    kept: usize,
    /// The same with gradient checkpointing: of a block its input; of other layers what the framework does not compute
    /// again, which is convolutions and sums.
    kept_least: usize,
    /// The most that its backward pass holds beyond what it keeps: gradients of maps.
    working: usize,
    /// The most that a forward pass without graph holds.
    forward: usize,
    /// Gradients of its parameters.
    gradients: usize,
    /// Weights of its largest convolution.
    convolution: usize,
    /// The map that a skip was joined to. Its gradient is held as a whole until the way down has come to the skip.
    joined: usize,
    /// The map that it leaves for the way up.
    skip: usize,
}

impl UNetConfig {
    /// Numbers that one sample keeps for the backward pass when its forward pass is done.
    pub fn kept(&self, training: &Training) -> usize {
        let stages = self.stages(training);
        stages.iter().map(|stage| stage.now(training)).sum()
    }

    /// The most numbers that forward and backward pass of so many samples hold, the gradients of the parameters among
    /// them. Parameters come on top.
    ///
    /// Gradients of parameters come one by one while what the samples keep goes: the most lies somewhere between.
    pub fn peak(&self, training: &Training, samples: usize) -> usize {
        let stages = self.stages(training);
        let mut kept: usize = stages.iter().map(|stage| stage.now(training)).sum();
        let (mut gradients, mut joined) = (0, vec![]);
        let mut peak = 0;
        for stage in stages.iter().rev() {
            gradients += stage.gradients;
            let again = stage.kept - stage.now(training);
            let held: usize = joined.iter().sum();
            peak = peak.max(gradients + samples * (kept + held + again + stage.working));
            kept -= stage.now(training);
            if stage.joined > 0 {
                joined.push(stage.joined);
            }
            if stage.skip > 0 {
                joined.pop();
            }
        }
        peak
    }

    /// The most numbers that a forward pass without graph holds for one sample: the skips, and what its largest block
    /// needs besides.
    pub fn forward(&self, size: [usize; 2], states: usize) -> usize {
        let stages = self.stages(&Training {
            size,
            states,
            part: TrainedPart::All,
            checkpointing: false,
        });
        let (mut skips, mut peak) = (0, 0);
        for stage in &stages {
            skips += stage.skip;
            peak = peak.max(skips + stage.forward);
        }
        peak
    }

    /// Number of weights that LoRA make a second time.
    pub fn lora_weights(&self) -> usize {
        let training = Training {
            size: [1, 1],
            states: 0,
            part: TrainedPart::Lora,
            checkpointing: false,
        };
        let stages = self.stages(&training);
        let gradients: usize = stages.iter().map(|stage| stage.gradients).sum();
        // The input for w is trained besides, in its own place.
        gradients - self.w.map_or(0, |w| w.dim * self.widths[0])
    }

    /// The most numbers that a kernel works with besides what goes in and comes out: transformed weights of a convolution.
    pub fn workspace(&self) -> usize {
        let stages = self.whole();
        let largest = stages.iter().map(|stage| stage.convolution).max();
        // 36 products in the place of nine.
        (4 * largest.unwrap_or(0)).min(fewstep_kernels::memory::TRANSFORMED_KERNELS)
    }

    /// Number of parameters of the block that has the most.
    pub fn largest_block(&self) -> usize {
        let blocks = self.whole().into_iter();
        blocks.map(|stage| stage.gradients).max().unwrap_or(0)
    }

    /// The network from its input to its output, all of it trained.
    fn whole(&self) -> Vec<Stage> {
        self.stages(&Training {
            size: [1, 1],
            states: 0,
            part: TrainedPart::All,
            checkpointing: false,
        })
    }

    /// Number of parameters, those of the ControlNet included and LoRA left out.
    #[cfg(test)]
    fn parameters(&self) -> usize {
        self.whole().iter().map(|stage| stage.gradients).sum()
    }

    /// The network from its input to its output, as far as gradients reach.
    fn stages(&self, training: &Training) -> Vec<Stage> {
        let [height, width] = training.size;
        let positions = height * width / (self.patch * self.patch);
        let base = Layers {
            config: self,
            training,
            frozen: training.part == TrainedPart::ControlNet,
        };
        let mut stages = match base.frozen {
            true => vec![],
            false => base.looking(positions, true),
        };
        if let Some(controlnet) = &self.controlnet {
            let own = Layers {
                frozen: false,
                ..base
            };
            stages.extend(own.stem(controlnet, positions));
            stages.extend(own.looking(positions, base.frozen));
            stages.push(own.joints(controlnet, positions));
        }
        stages.extend(base.drawing(positions));
        stages
    }

    /// Width and level of each map that the way down leaves for the way up.
    fn skips(&self) -> impl Iterator<Item = (usize, usize)> {
        let last = self.widths.len() - 1;
        let levels = self
            .widths
            .iter()
            .enumerate()
            .flat_map(move |(level, &width)| {
                let halved = (level < last).then_some((width, level + 1));
                std::iter::repeat_n((width, level), self.blocks).chain(halved)
            });
        std::iter::once((self.widths[0], 0)).chain(levels)
    }
}

impl Stage {
    /// What it keeps from its forward pass to its backward pass.
    fn now(&self, training: &Training) -> usize {
        match training.checkpointing {
            true => self.kept_least,
            false => self.kept,
        }
    }
}
