//! Weights of one network added to those of another, or taken from them.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{FloatDType, Tensor};
use std::collections::HashMap;

/// θ + `factor` · `other`, parameter by parameter. Those that the other network does not have stay as
/// they are. None where it has one that this one does not, or of another shape.
pub(crate) fn plus<M: Module>(network: M, other: &impl Module, factor: f64) -> Option<M> {
    let mut terms = Terms::default();
    other.visit(&mut terms);
    let mut sum = Sum { terms, factor };
    let network = network.map(&mut sum);
    sum.terms.0.is_empty().then_some(network)
}

/// Parameters by their numbers, flat, with their shapes.
#[derive(Default)]
struct Terms(HashMap<ParamId, (Tensor<1>, Vec<usize>)>);

impl ModuleVisitor for Terms {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let shape = value.shape().to_vec();
        self.0.insert(param.id, (value.flatten(0, D - 1), shape));
    }
}

struct Sum {
    terms: Terms,
    factor: f64,
}

impl ModuleMapper for Sum {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape().to_vec();
        let fits = |(_, other): &(_, Vec<usize>)| *other == shape;
        if !self.terms.0.get(&param.id).is_some_and(fits) {
            return param;
        }
        match self.terms.0.remove(&param.id) {
            None => param,
            Some((term, _)) => param.map(|value| {
                let (shape, stored) = (value.shape(), FloatDType::from(value.dtype()));
                // What is stored in 16 bits is added in 32.
                let term = term.cast(FloatDType::F32).reshape(shape) * self.factor;
                (value.cast(FloatDType::F32) + term).cast(stored)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{UNet, UNetConfig, WEmbedding};
    use burn::tensor::Device;

    fn network(widths: Vec<usize>, seed: u64) -> UNet {
        let config = UNetConfig {
            attention: vec![true; widths.len()],
            widths,
            ..UNetConfig::default()
        };
        UNet::new(&config, seed, &Device::flex()).expect("a valid configuration")
    }

    #[derive(Default)]
    struct Values(Vec<f32>);

    impl ModuleVisitor for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values: Vec<f32> = param.val().into_data().try_to_vec().expect("floats");
            self.0.extend(values);
        }
    }

    fn values(network: &UNet) -> Vec<f32> {
        let mut values = Values::default();
        network.visit(&mut values);
        values.0
    }

    /// The input for w, which the others do not have, stays.
    #[test]
    fn weights_are_added_to_those_of_the_same_number() {
        let [student, before, after] = [1, 2, 3].map(|seed| network(vec![32, 32], seed));
        let w = WEmbedding {
            dim: 4,
            scale: 250.0,
        };
        let with_w = student
            .clone()
            .with_w_input(w)
            .with_w_projection(&[0.5; 128]);
        let moved = |student: UNet| {
            let less = plus(student, &before, -1.0).expect("of the same shape");
            plus(less, &after, 1.0).expect("of the same shape")
        };
        let expected = values(&student).into_iter();
        let change = values(&after).into_iter().zip(values(&before));
        let expected: Vec<f32> = expected
            .zip(change)
            .map(|(s, (a, b))| s + (a - b))
            .collect();
        let near = |sum: &UNet| {
            let sum = values(sum);
            sum.len() == expected.len()
                && sum
                    .iter()
                    .zip(&expected)
                    .all(|(sum, expected)| (sum - expected).abs() < 1e-6)
        };
        assert!(near(&moved(student)));
        let projection = moved(with_w).w_projection().expect("an input for w");
        let projection: Vec<f32> = projection.into_data().try_to_vec().expect("floats");
        assert_eq!(projection, [0.5; 128]);
    }

    #[test]
    fn networks_of_other_shapes_cannot_be_added() {
        let small = network(vec![32], 1);
        assert!(plus(small.clone(), &network(vec![64], 1), 1.0).is_none());
        assert!(plus(small.clone(), &network(vec![32, 32], 1), 1.0).is_none());
        assert!(plus(small, &network(vec![32], 2), 1.0).is_some());
    }
}
