//! Adam and AdamW in one pass over memory where the device has a kernel for it, and the framework's
//! elsewhere.

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
