//! Networks in training whose type the run does not know.

use super::gradients::digest;
use super::{Meanwhile, OptimizerFileError, Stepper, UpdateError, UpdateReport};
use crate::method::{Batch, Objective, Peer};
use burn::module::Module;
use fewstep_diffusion::{Denoiser, Network};
use fewstep_world::World;
use std::path::{Path, PathBuf};

/// The state of a player of any type.
pub(crate) trait PlayerState {
    /// One update from batches and a seed.
    fn update(
        &mut self,
        others: &[Peer<'_>],
        objective: &dyn Objective,
        drawn: (&[Batch], u64),
        meanwhile: Meanwhile<'_>,
    ) -> Result<UpdateReport, UpdateError>;

    /// Trains as one of the ranks of a world.
    fn join(&mut self, world: &World);

    /// Whether its network draws masks of dropout.
    fn has_dropout(&self) -> bool;

    /// A digest of its parameters.
    fn digest(&self) -> u64;

    /// The raw network without graph.
    fn model(&self) -> Box<dyn Denoiser>;

    /// Writes parameters, average and optimiser into a folder, and says which files they are.
    fn save(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>, OptimizerFileError>;

    /// Reads what [`save`](Self::save) wrote after so many updates.
    fn restore(
        &mut self,
        folder: &Path,
        name: &str,
        updates: u64,
    ) -> Result<(), OptimizerFileError>;
}

impl<N: Module + Network + 'static> PlayerState for Stepper<N> {
    fn update(
        &mut self,
        others: &[Peer<'_>],
        objective: &dyn Objective,
        drawn: (&[Batch], u64),
        meanwhile: Meanwhile<'_>,
    ) -> Result<UpdateReport, UpdateError> {
        self.update_among(others, objective, drawn, meanwhile)
    }

    fn join(&mut self, world: &World) {
        Stepper::join(self, world);
    }

    fn has_dropout(&self) -> bool {
        self.raw().has_dropout()
    }

    fn digest(&self) -> u64 {
        digest(&self.raw())
    }

    fn model(&self) -> Box<dyn Denoiser> {
        Box::new(Stepper::model(self))
    }

    fn save(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>, OptimizerFileError> {
        let [raw, average, optimizer] = files(folder, name);
        let write = |network: N, file: &Path| {
            let written = network.save_file(file);
            written.map_err(|error| OptimizerFileError(error.to_string()))
        };
        write(self.raw(), &raw)?;
        self.save_optimizer(&optimizer)?;
        let mut written = vec![raw, optimizer];
        if let Some(network) = self.average() {
            write(network.clone(), &average)?;
            written.push(average);
        }
        Ok(written)
    }

    fn restore(
        &mut self,
        folder: &Path,
        name: &str,
        updates: u64,
    ) -> Result<(), OptimizerFileError> {
        let [raw, average, optimizer] = files(folder, name);
        let read = |file: &Path| {
            let read = self.raw().try_load_file(file);
            read.map_err(|error| OptimizerFileError(error.to_string()))
        };
        let average = match self.average() {
            Some(_) => Some(read(&average)?),
            None => None,
        };
        let raw = read(&raw)?;
        Stepper::restore(self, raw, average, &optimizer, updates)
    }
}

/// The files of raw parameters, their average, and the optimiser.
fn files(folder: &Path, name: &str) -> [PathBuf; 3] {
    ["raw.bpk", "average.bpk", "optimizer.bin"].map(|file| folder.join(format!("{name}-{file}")))
}
