//! Adam and AdamW in one pass over memory after the first update, and the framework's for the first and
//! for tensors that are not in f32.

use burn::optim::{
    Adam, AdamState, AdamW, AdamWState, AdaptiveMomentumState, LearningRate, Optimizer,
};
use burn::tensor::{Device, Tensor};
use fewstep_kernels::update::{self, AdamStep, Decay};

/// β of the papers.
const BETA: [f32; 2] = [0.9, 0.999];

/// ε of the papers.
pub(super) const EPSILON: f32 = 1e-8;

/// An optimiser of the framework, with its state, and how its weight decay enters.
#[derive(Clone)]
pub(super) struct Fused<O> {
    pub(super) stock: O,
    pub(super) decay: Decay,
}

impl<O> Fused<O> {
    /// Parameter and momentum after an update, where there is a kernel and this is not the first.
    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        parameter: &Tensor<D>,
        gradient: &Tensor<D>,
        momentum: &AdaptiveMomentumState<D>,
    ) -> Option<(Tensor<D>, AdaptiveMomentumState<D>)> {
        let time = momentum.time + 1;
        let step = AdamStep {
            lr: lr as f32,
            beta: BETA,
            correction: BETA.map(|beta| 1.0 - beta.powi(time as i32)),
            epsilon: EPSILON,
            decay: self.decay,
        };
        let moments = [&momentum.moment_1, &momentum.moment_2];
        let [parameter, moment_1, moment_2] = update::adam(parameter, gradient, moments, step)?;
        Some((
            parameter,
            AdaptiveMomentumState::new(time, moment_1, moment_2),
        ))
    }
}

macro_rules! fuse {
    ($optimizer:ident, $state:ident) => {
        impl Optimizer for Fused<$optimizer> {
            type State<const D: usize> = $state<D>;

            fn step<const D: usize>(
                &self,
                lr: LearningRate,
                tensor: Tensor<D>,
                grad: Tensor<D>,
                state: Option<Self::State<D>>,
            ) -> (Tensor<D>, Option<Self::State<D>>) {
                let fused = state
                    .as_ref()
                    .and_then(|state| Fused::step(self, lr, &tensor, &grad, &state.momentum));
                match fused {
                    Some((tensor, momentum)) => (tensor, Some($state::new(momentum))),
                    None => self.stock.step(lr, tensor, grad, state),
                }
            }

            fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
                $optimizer::to_device(state, device)
            }
        }
    };
}

fuse!(Adam, AdamState);
fuse!(AdamW, AdamWState);

#[cfg(test)]
mod tests {
    use super::*;
    use burn::optim::decay::WeightDecayConfig;
    use burn::optim::{AdamConfig, AdamWConfig};
    use burn::tensor::TensorData;

    /// Parameters after each of some updates with gradients that look random.
    fn path<O: Optimizer>(optimizer: &O) -> Vec<Vec<u32>> {
        let device = Device::flex();
        let values = |seed: u32| {
            let value = |i: u32| ((i * 97 + seed * 31) % 101) as f32 / 50.0 - 1.0;
            TensorData::new((0..70_000).map(value).collect::<Vec<_>>(), [700, 100])
        };
        let mut parameter = Tensor::<2>::from_data(values(0), &device);
        let mut state = None;
        let step = |update: u32| {
            let gradient = Tensor::from_data(values(update + 1), &device);
            let lr = 0.1 / f64::from(update + 1);
            let before = parameter.clone();
            (parameter, state) = optimizer.step(lr, before, gradient, state.take());
            let moved = parameter.to_data();
            moved.iter::<f32>().map(f32::to_bits).collect()
        };
        (0..5).map(step).collect()
    }

    /// On a CPU with the framework's bits, for each way of weight decay and without. The learning rate is
    /// so high that a last digit of the change is one of the parameter.
    #[test]
    fn the_kernel_moves_as_the_framework_does() {
        let adam = AdamConfig::new().with_epsilon(EPSILON);
        for decay in [0.0, 0.02] {
            let config = match decay == 0.0 {
                true => adam.clone(),
                false => adam
                    .clone()
                    .with_weight_decay(Some(WeightDecayConfig::new(decay))),
            };
            let stock = config.build();
            let fused = Fused {
                stock: stock.clone(),
                decay: Decay::Coupled(decay),
            };
            assert_eq!(path(&fused), path(&stock), "Adam, {decay}");
            let config = AdamWConfig::new()
                .with_epsilon(EPSILON)
                .with_weight_decay(decay);
            let stock = config.build();
            let fused = Fused {
                stock: stock.clone(),
                decay: Decay::Decoupled(decay),
            };
            assert_eq!(path(&fused), path(&stock), "AdamW, {decay}");
        }
    }
}
