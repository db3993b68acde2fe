//! One update after another: the state that training carries along.

use super::seed::mix;
use super::sums::Sums;
use super::{OptimConfig, ema, gradients};
use crate::method::{Batch, Objective, Peer, Student};
use burn::backend::GradientCheckpointingStrategy;
use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use fewstep_diffusion::{Denoiser, DiffusionModel, Network};
use fewstep_kernels::device::Placement;
use fewstep_world::{World, WorldError};
use std::path::Path;
use std::time::Instant;

/// A network in training.
pub struct Stepper<N: Module> {
    model: DiffusionModel<N>,
    average: Option<N>,
    optimizer: ModuleOptimizer,
    config: OptimConfig,
    part: fn(N) -> N,
    total: u64,
    updates: u64,
    world: World,
}

/// A file of an optimiser's state that cannot be written, or is missing or damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OptimizerFileError(pub(super) String);

/// What an update saw.
#[derive(Clone, Debug)]
pub struct UpdateReport {
    /// Mean loss of the batch.
    pub loss: f64,
    /// Loss and time of each sample.
    pub samples: Vec<(f64, f64)>,
    /// Global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// Seconds that the exchange of gradients with other ranks took, with the wait for them; none
    /// without others.
    pub exchange: Option<f64>,
}

/// The loss or the gradient is NaN or infinite. The parameters have not been touched.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("update {update}: the {what} is {value} (samples {first} to {last} of the run's order)")]
pub struct NotFinite {
    /// Number of the update, from 1.
    pub update: u64,
    /// Loss or gradient.
    pub what: &'static str,
    /// NaN, inf or -inf.
    pub value: f64,
    /// Clock of the first sample of the batch.
    pub first: u64,
    /// Clock of the last sample.
    pub last: u64,
}

/// What the host does while the device is busy with an update: once an update, or not at all.
pub(crate) type Meanwhile<'a> = &'a mut (dyn FnMut() + Send);

/// Why an update was not made. The parameters have not been touched.
#[derive(Debug)]
pub(crate) enum UpdateError {
    NotFinite(NotFinite),
    /// Other ranks are not there any more.
    World(WorldError),
}

impl From<NotFinite> for UpdateError {
    fn from(error: NotFinite) -> Self {
        Self::NotFinite(error)
    }
}

impl From<WorldError> for UpdateError {
    fn from(error: WorldError) -> Self {
        Self::World(error)
    }
}

/// What an update is to learn, and from what.
#[derive(Clone, Copy)]
struct Task<'a> {
    objective: &'a dyn Objective,
    others: &'a [Peer<'a>],
    seed: u64,
}

/// The result of a part of a batch: time and loss of each sample, and the gradients of its share of
/// the mean loss.
struct PartGradients {
    times: Vec<f64>,
    losses: Tensor<1>,
    gradients: GradientsParams,
}

impl<N: Module + Network> Stepper<N> {
    /// Starts a phase of `total` updates from a model.
    pub fn new(model: DiffusionModel<N>, config: OptimConfig, total: u64) -> Self {
        let average = config.ema.map(|_| model.network.valid());
        let network = with_graph(model.network, &config);
        Self {
            model: DiffusionModel { network, ..model },
            average,
            optimizer: config.build(),
            config,
            part: |network| network,
            total,
            updates: 0,
            world: World::default(),
        }
    }

    /// The same, as one of the ranks of a world: it gets its share of every batch.
    pub(super) fn join(&mut self, world: &World) {
        self.world = world.clone();
    }

    /// Trains only a part of the network: `part` freezes the rest, which then has neither gradients
    /// nor optimiser state and is not averaged.
    pub fn training(mut self, part: fn(N) -> N) -> Self {
        self.part = part;
        self.model.network = part(self.model.network);
        self
    }

    /// One update from one batch, given in its micro-batches.
    ///
    /// # Errors
    /// When loss or gradient are not finite; the parameters are then as they were.
    pub fn update(
        &mut self,
        objective: &dyn Objective,
        batches: &[Batch],
        seed: u64,
    ) -> Result<UpdateReport, NotFinite> {
        let updated = self.update_among(&[], objective, (batches, seed), &mut || {});
        updated.map_err(|error| match error {
            UpdateError::NotFinite(error) => error,
            UpdateError::World(error) => unreachable!("a stepper of its own: {error}"),
        })
    }

    /// [`update`](Self::update) where the objective sees other players. `meanwhile` is done when the
    /// device has all the work up to the loss and the gradient, before they are read.
    ///
    /// # Errors
    /// As `update`.
    pub(crate) fn update_among(
        &mut self,
        others: &[Peer<'_>],
        objective: &dyn Objective,
        (batches, seed): (&[Batch], u64),
        meanwhile: Meanwhile<'_>,
    ) -> Result<UpdateReport, UpdateError> {
        let device = batches.first().map(|batch| batch.images.device());
        let placement = Placement::of(&device.unwrap_or_default());
        let task = Task {
            objective,
            others,
            seed,
        };
        placement.repeatedly(|| self.update_on(&placement, task, batches, meanwhile))
    }

    fn update_on(
        &mut self,
        placement: &Placement,
        task: Task<'_>,
        batches: &[Batch],
        meanwhile: Meanwhile<'_>,
    ) -> Result<UpdateReport, UpdateError> {
        let target = DiffusionModel {
            network: self.result(),
            schedule: self.model.schedule.clone(),
            prediction: self.model.prediction,
        };
        let own: usize = batches.iter().map(Batch::len).sum();
        let total = match self.world.is_single() {
            true => own,
            false => self.config.batch,
        };
        let mut sums = Sums::new(&self.world, !placement.has_own_memory());
        let (mut times, mut losses) = (Vec::with_capacity(own), vec![]);
        for batch in batches {
            // Dropout is the one thing that draws from the framework's own generator.
            batch.images.device().seed(mix(task.seed, batch.clock));
            let part = match self.model.network.has_dropout() {
                true => batch.len(),
                false => placement.part(batch.len()),
            };
            let parts = placement.map(batch.split(part).collect(), |part| {
                self.gradients(task, &target, &part, total)
            });
            for part in parts {
                sums.add(&self.model.network, part.gradients);
                times.extend(part.times);
                losses.push(part.losses);
            }
        }
        // What nothing else refers to is moved in place, or freed as soon as it is moved.
        drop(target);
        let begun = Instant::now();
        let mut gradients = sums.finish(&self.model.network)?;
        let exchange = (!self.world.is_single()).then(|| begun.elapsed().as_secs_f64());
        // All that the host wants to know, in one read.
        losses.push(gradients::squared_norm(&gradients, &self.model.network));
        let known = Tensor::cat(losses, 0);
        meanwhile();
        let mut known = read(known);
        let gradient_norm = known.pop().unwrap_or(f64::NAN).sqrt();
        let samples: Vec<(f64, f64)> = times.into_iter().zip(known).collect();
        let samples = of_all_ranks(&self.world, samples)?;
        let loss = samples.iter().map(|(_, loss)| loss).sum::<f64>() / samples.len() as f64;
        self.check_finite(
            batches,
            total,
            &[("loss", loss), ("gradient norm", gradient_norm)],
        )?;
        if gradient_norm > self.config.clip {
            let factor = self.config.clip / gradient_norm;
            gradients::scale(&mut gradients, &self.model.network, factor);
        }
        let lr = self.config.learning_rate(self.updates, self.total);
        let network = self.model.network.clone();
        self.model.network = self.optimizer.step(lr, network, gradients);
        self.updates += 1;
        self.update_ema();
        Ok(UpdateReport {
            loss,
            samples,
            gradient_norm,
            lr,
            exchange,
        })
    }

    fn gradients(
        &self,
        task: Task<'_>,
        target: &dyn Denoiser,
        part: &Batch,
        total: usize,
    ) -> PartGradients {
        // Parameters of its own: what shares a parameter shares a graph, and then waits for its
        // turn.
        let model = DiffusionModel {
            network: (self.part)(with_graph(self.model.network.clone(), &self.config)),
            ..self.model.clone()
        };
        let student = Student {
            online: &model,
            target,
            others: task.others,
        };
        let loss = task.objective.loss(student, part, task.seed);
        let gradients = (loss.per_sample.clone().sum() / total as f64).backward();
        let gradients = GradientsParams::from_grads(gradients, &model.network);
        PartGradients {
            times: loss.times,
            losses: loss.per_sample.inner(),
            gradients,
        }
    }

    /// The network as it is now, without graph: the average where there is one.
    pub fn result(&self) -> N {
        match &self.average {
            Some(average) => average.clone(),
            None => self.model.network.valid(),
        }
    }

    /// The raw network without graph.
    pub(crate) fn raw(&self) -> N {
        self.model.network.valid()
    }

    /// The raw network without graph, to be called by others.
    pub(crate) fn model(&self) -> DiffusionModel<N> {
        DiffusionModel {
            network: self.raw(),
            ..self.model.clone()
        }
    }

    /// The average, where there is one.
    pub(super) fn average(&self) -> Option<&N> {
        self.average.as_ref()
    }

    /// Writes the state of the optimiser. While it is written there are two copies in memory.
    ///
    /// # Errors
    /// When it cannot be read back from its device, or the file cannot be written.
    pub(crate) fn save_optimizer(&self, file: &Path) -> Result<(), OptimizerFileError> {
        self.optimizer
            .save(file)
            .map_err(|e| OptimizerFileError(e.to_string()))
    }

    /// Takes up a phase where a checkpoint left it, with the optimiser's state in this file.
    ///
    /// # Errors
    /// When that is missing or damaged.
    pub(crate) fn restore(
        &mut self,
        raw: N,
        average: Option<N>,
        optimizer: &Path,
        updates: u64,
    ) -> Result<(), OptimizerFileError> {
        self.model.network = (self.part)(with_graph(raw, &self.config));
        self.average = self.config.ema.and(average);
        self.optimizer = self
            .config
            .build()
            .load(optimizer)
            .map_err(|e| OptimizerFileError(e.to_string()))?;
        self.updates = updates;
        Ok(())
    }

    fn update_ema(&mut self) {
        if let (Some(ema), Some(average)) = (self.config.ema, self.average.take()) {
            let samples = self.updates * self.config.batch as u64;
            let decay = ema.decay(self.updates, samples, self.config.batch);
            self.average = Some(ema::blend(average, &self.model.network, decay));
        }
    }

    fn check_finite(
        &self,
        batches: &[Batch],
        samples: usize,
        values: &[(&'static str, f64)],
    ) -> Result<(), NotFinite> {
        let Some(&(what, value)) = values.iter().find(|(_, value)| !value.is_finite()) else {
            return Ok(());
        };
        let first = batches.first().map_or(0, |batch| batch.update);
        Err(NotFinite {
            update: self.updates + 1,
            what,
            value,
            first,
            last: first + samples as u64 - 1,
        })
    }
}

/// The same parameters, recorded for a backward pass.
fn with_graph<N: Module>(network: N, config: &OptimConfig) -> N {
    struct Recompute;
    impl ModuleMapper for Recompute {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| {
                let strategy = GradientCheckpointingStrategy::Balanced;
                value.with_gradient_checkpointing_strategy(strategy)
            })
        }
    }
    let network = network.valid().unfreeze().train();
    match config.gradient_checkpointing {
        true => network.map(&mut Recompute),
        false => network,
    }
}

/// Time and loss of each sample of the update, in their order: a rank has those of its share.
fn of_all_ranks(world: &World, own: Vec<(f64, f64)>) -> Result<Vec<(f64, f64)>, WorldError> {
    if world.is_single() {
        return Ok(own);
    }
    let bytes = own
        .iter()
        .flat_map(|(time, loss)| [time.to_le_bytes(), loss.to_le_bytes()]);
    let all = world.gather(bytes.collect::<Vec<_>>().concat())?.concat();
    let numbers = all
        .as_chunks::<8>()
        .0
        .iter()
        .map(|bytes| f64::from_le_bytes(*bytes));
    let numbers: Vec<f64> = numbers.collect();
    let samples = numbers.as_chunks::<2>().0.iter();
    Ok(samples.map(|&[time, loss]| (time, loss)).collect())
}

fn read(tensor: Tensor<1>) -> Vec<f64> {
    let values = tensor.into_data().try_to_vec::<f32>().unwrap_or_default();
    values.into_iter().map(f64::from).collect()
}
