//! A mixture of normal distributions per class.

use super::Gaussian;
use crate::{Denoiser, Inputs, NoiseLevel, Prediction, PredictionKind, Schedule, per_sample};
use burn::tensor::{Tensor, activation::softmax};

/// One part of a mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Component {
    /// Its share, above 0; the shares of a class need not add up to 1.
    pub weight: f64,
    /// Its distribution.
    pub gaussian: Gaussian,
}

/// What chooses a component independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coupling {
    /// Every pixel: pixels are independent draws of the same 1-D mixture.
    Pixel,
    /// The image: all its pixels come from the same component, an isotropic mixture in all
    /// dimensions.
    Image,
}

/// The best denoiser of data that follows a mixture of normal distributions within each class. Its
/// unconditional branch is the true one: all classes, equally likely.
#[derive(Clone, Debug)]
pub struct MixtureDenoiser {
    schedule: Schedule,
    coupling: Coupling,
    /// Class, probability within the class, distribution.
    components: Vec<(u32, f64, Gaussian)>,
}

impl MixtureDenoiser {
    /// One mixture per class.
    pub fn new(schedule: Schedule, coupling: Coupling, classes: &[Vec<Component>]) -> Self {
        let components = (0..)
            .zip(classes)
            .flat_map(|(class, components)| {
                let total: f64 = components.iter().map(|c| c.weight).sum();
                components
                    .iter()
                    .map(move |c| (class, c.weight / total, c.gaussian))
            })
            .collect();
        Self {
            schedule,
            coupling,
            components,
        }
    }

    /// log of p(k) p(z | k) for every sample's component k, up to what all components share;
    /// −∞ where k is of another class than the sample.
    fn log_joint(
        &self,
        (of, weight, gaussian): (u32, f64, Gaussian),
        z: &Tensor<4>,
        levels: &[NoiseLevel],
        class: impl Fn(usize) -> Option<u32>,
    ) -> Tensor<4> {
        let device = z.device();
        let values = |f: &dyn Fn(NoiseLevel) -> f64| {
            per_sample(levels.iter().map(|&level| f(level)), &device)
        };
        let pixels = match self.coupling {
            Coupling::Pixel => 1,
            Coupling::Image => z.dims()[1..].iter().product(),
        };
        let prior = (0..levels.len()).map(|sample| {
            let excluded = class(sample).is_some_and(|class| class != of);
            if excluded {
                f64::NEG_INFINITY
            } else {
                weight.ln()
            }
        });
        let centred = z.clone() - values(&|level| level.alpha() * gaussian.mu);
        let exponent = centred.square() * values(&|level| -0.5 / gaussian.variance(level));
        let exponent = match self.coupling {
            Coupling::Pixel => exponent,
            Coupling::Image => exponent.sum_dims(&[1, 2, 3]),
        };
        let scale = values(&|level| -0.5 * pixels as f64 * gaussian.variance(level).ln());
        exponent + scale + per_sample(prior, &device)
    }
}

impl Denoiser for MixtureDenoiser {
    /// v̂ = Σ_k p(k | z) v̂_k, with the responsibilities p(k | z) by Bayes' rule. A sample of a
    /// class that there is not has no component, and gets NaN.
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        let levels = self.schedule.levels(t);
        let device = z.device();
        let class = |sample: usize| inputs.classes.as_ref().and_then(|c| c[sample]);
        let log_joint = self
            .components
            .iter()
            .map(|&component| self.log_joint(component, &z, &levels, class))
            .collect();
        let responsibilities = softmax(Tensor::stack::<5>(log_joint, 4), 4);
        let v = self
            .components
            .iter()
            .zip(responsibilities.iter_dim(4))
            .map(|((_, _, gaussian), share)| {
                let (a, b): (Vec<f64>, Vec<f64>) =
                    levels.iter().map(|&level| gaussian.velocity(level)).unzip();
                let v = z.clone() * per_sample(a, &device) + per_sample(b, &device);
                v * share.squeeze_dim::<4>(4)
            })
            .fold(z.zeros_like(), |sum, v| sum + v);
        Prediction::new(PredictionKind::V, v, z, levels)
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::GaussianDenoiser;
    use burn::tensor::{Device, TensorData};
    use proptest::prelude::*;

    const LEFT: Gaussian = Gaussian { mu: -0.6, s: 0.2 };
    const RIGHT: Gaussian = Gaussian { mu: 0.5, s: 0.4 };

    fn component(weight: f64, gaussian: Gaussian) -> Component {
        Component { weight, gaussian }
    }

    fn images(values: &[f64], shape: [usize; 4]) -> Tensor<4> {
        let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn values(tensor: Tensor<4>) -> Vec<f64> {
        let values: Vec<f32> = tensor.into_data().try_to_vec().expect("f32 data");
        values.into_iter().map(f64::from).collect()
    }

    /// E[x | z] of one pixel, by summing over all x.
    fn mean_by_integration(parts: &[Component], z: f64, level: NoiseLevel) -> f64 {
        let (mut mass, mut moment) = (0.0, 0.0);
        for i in -4000..=4000 {
            let x = f64::from(i) / 1000.0;
            let normal = |u: f64, s: f64| (-0.5 * (u / s).powi(2)).exp() / s;
            let prior: f64 = parts
                .iter()
                .map(|c| c.weight * normal(x - c.gaussian.mu, c.gaussian.s))
                .sum();
            let joint = prior * normal(z - level.alpha() * x, level.sigma());
            mass += joint;
            moment += joint * x;
        }
        moment / mass
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn x_is_the_mean_of_what_may_lie_behind(z in -2.0..2.0f64, t in 0.1..0.95f64, coupled in any::<bool>()) {
            let coupling = if coupled { Coupling::Image } else { Coupling::Pixel };
            let parts = vec![component(1.0, LEFT), component(3.0, RIGHT)];
            let model = MixtureDenoiser::new(Schedule::default(), coupling, std::slice::from_ref(&parts));
            let z_t = images(&[z], [1, 1, 1, 1]);
            let x = values(model.predict(z_t, &[t], &Inputs::default()).x())[0];
            let expected = mean_by_integration(&parts, z, model.schedule().at(t));
            prop_assert!((x - expected).abs() < 1e-3, "{x} is not {expected}");
        }
    }

    #[test]
    fn a_class_of_one_component_is_a_gaussian() {
        let classes = [vec![component(2.0, LEFT)], vec![component(5.0, RIGHT)]];
        let z = images(&[0.3, -0.9, 1.4, 0.0], [2, 1, 1, 2]);
        let inputs = Inputs::classes([1, 0]);
        let expected = GaussianDenoiser::new(Schedule::default(), vec![LEFT, RIGHT], LEFT)
            .predict(z.clone(), &[0.4, 0.8], &inputs)
            .v();
        for coupling in [Coupling::Pixel, Coupling::Image] {
            let model = MixtureDenoiser::new(Schedule::default(), coupling, &classes);
            let v = model.predict(z.clone(), &[0.4, 0.8], &inputs).v();
            for (a, b) in values(v).into_iter().zip(values(expected.clone())) {
                assert!((a - b).abs() < 1e-5, "{a} is not {b}");
            }
        }
    }

    /// Without a class all classes are equally likely, whatever the weights inside them add up to.
    #[test]
    fn the_unconditional_branch_is_the_mixture_of_the_classes() {
        let classes = [vec![component(2.0, LEFT)], vec![component(5.0, RIGHT)]];
        let split = MixtureDenoiser::new(Schedule::default(), Coupling::Pixel, &classes);
        let even = vec![component(0.5, LEFT), component(0.5, RIGHT)];
        let joint = MixtureDenoiser::new(Schedule::default(), Coupling::Pixel, &[even]);
        let ask = |model: &MixtureDenoiser| {
            let z = images(&[0.2, -0.4], [1, 1, 1, 2]);
            values(model.predict(z, &[0.6], &Inputs::default()).x())
        };
        assert_eq!(ask(&split), ask(&joint));
    }

    /// An image whose pixels disagree: coupled, its pixels share one component; uncoupled, each has
    /// its own.
    #[test]
    fn coupling_ties_the_pixels_of_a_image() {
        let parts = vec![component(1.0, LEFT), component(1.0, RIGHT)];
        let x = |coupling| {
            let z = images(&[0.5, 0.5, 0.5, -0.6], [1, 1, 2, 2]);
            let model =
                MixtureDenoiser::new(Schedule::default(), coupling, std::slice::from_ref(&parts));
            values(model.predict(z, &[0.25], &Inputs::default()).x())
        };
        assert!(x(Coupling::Pixel)[3] < -0.4);
        assert!(x(Coupling::Image)[3] > -0.4);
    }

    /// Bayes' rule over all pixels at once: with equal means, the spread of the image tells the
    /// component.
    #[test]
    fn a_coupled_image_is_judged_as_a_whole() {
        let (narrow, wide) = (Gaussian { mu: 0.0, s: 0.3 }, Gaussian { mu: 0.0, s: 0.9 });
        let parts = vec![component(1.0, narrow), component(2.0, wide)];
        let model = MixtureDenoiser::new(Schedule::default(), Coupling::Image, &[parts]);
        let level = model.schedule().at(0.3);
        let z = [0.5, -0.4, 0.6, 0.1];
        let joint = [(1.0, narrow), (2.0, wide)].map(|(weight, gaussian)| {
            let variance = gaussian.variance(level);
            let density = |z: &f64| (-0.5 * z * z / variance).exp() / variance.sqrt();
            weight * z.iter().map(density).product::<f64>()
        });
        let v = |gaussian: Gaussian| gaussian.velocity(level).0 * z[0];
        let expected = (joint[0] * v(narrow) + joint[1] * v(wide)) / (joint[0] + joint[1]);
        let seen = model.predict(images(&z, [1, 1, 2, 2]), &[0.3], &Inputs::default());
        assert!((values(seen.v())[0] - expected).abs() < 1e-5);
    }
}
