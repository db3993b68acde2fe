//! Gradient checkpointing: a block keeps its inputs, and computes the rest again in the backward pass.

use burn::backend::GradientCheckpointingStrategy;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use fewstep_kernels::DispatchTensor;

/// What a block is given besides the map.
#[derive(Clone, Copy, Default)]
pub(crate) struct Beside<'a> {
    /// Time, class and w, `[batch, embedding_dim]`.
    pub(crate) embedding: Option<&'a Tensor<2>>,
    /// States of a text encoder, `[batch, states, text width]`.
    pub(crate) text: Option<&'a Tensor<3>>,
}

/// The output of a block, whose `forward` must draw nothing at random. Where the map asks for gradient checkpointing, the
/// block's inputs and parameters are all that is kept of it.
pub(crate) fn recomputed<M: Module + Sync + 'static>(
    block: &M,
    x: Tensor<4>,
    beside: Beside<'_>,
    forward: impl Fn(&M, Tensor<4>, Beside<'_>) -> Tensor<4> + Send + Sync + 'static,
) -> Tensor<4> {
    if x.gradient_checkpointing_strategy() != Some(GradientCheckpointingStrategy::Balanced) {
        return forward(block, x, beside);
    }
    let mut inputs = vec![x.into_dispatch()];
    let (embedding, text) = (beside.embedding.cloned(), beside.text.cloned());
    let has = (embedding.is_some(), text.is_some());
    inputs.extend(embedding.map(Tensor::into_dispatch));
    inputs.extend(text.map(Tensor::into_dispatch));
    block.visit(&mut Parameters(&mut inputs));
    // A graph that is kept in one of its own steps would never be given up.
    let structure = block.valid();
    let output = fewstep_kernels::recomputed(inputs, move |inputs| {
        let mut inputs = inputs.into_iter();
        let x = next::<4>(&mut inputs);
        let embedding = has.0.then(|| next::<2>(&mut inputs));
        let text = has.1.then(|| next::<3>(&mut inputs));
        let block = structure.clone().map(&mut Values(inputs));
        let beside = Beside {
            embedding: embedding.as_ref(),
            text: text.as_ref(),
        };
        forward(&block, x, beside).into_dispatch()
    });
    Tensor::from_dispatch(output)
}

fn next<const D: usize>(inputs: &mut impl Iterator<Item = DispatchTensor>) -> Tensor<D> {
    let tensor = inputs.next();
    Tensor::from_dispatch(tensor.expect("as many as were given"))
}

/// Collects the parameters of a block.
struct Parameters<'a>(&'a mut Vec<DispatchTensor>);

impl ModuleVisitor for Parameters<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into_dispatch());
    }
}

/// Gives a block other parameters.
struct Values<I>(I);

impl<I: Iterator<Item = DispatchTensor>> ModuleMapper for Values<I> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|_| next(&mut self.0))
    }
}
