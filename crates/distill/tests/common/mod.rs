//! A student that is linear in noisy image and condition, and how to train it.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use fewstep_diffusion::analytic::Gaussian;
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{DiffusionModel, Inputs, Network, PredictionKind, Schedule};
use fewstep_distill::method::{Batch, Objective, Student};
use fewstep_distill::optim::{OptimConfig, Stepper};

pub(crate) const BATCH: usize = 256;
const SHAPE: [usize; 3] = [1, 2, 2];

/// v = p z + q c + r, with coefficients for every time i / D, i = 0..=D, and class; the last class
/// stands for none.
#[derive(Module, Debug)]
pub(crate) struct Table {
    table: Param<Tensor<2>>,
    #[module(skip)]
    intervals: usize,
    #[module(skip)]
    classes: usize,
}

/// A student of D intervals that predicts v = 0.
pub(crate) fn linear(intervals: usize, classes: usize) -> Table {
    let table = Tensor::zeros([(intervals + 1) * classes, 3], &Device::flex());
    Table {
        table: Param::from_tensor(table),
        intervals,
        classes,
    }
}

impl Table {
    /// The same with arbitrary coefficients.
    pub(crate) fn shaken(self) -> Self {
        let table = self.table.map(|table| {
            let [rows, columns] = table.dims();
            let values = (0..rows * columns)
                .map(|i| (i as f32 * 1.7).sin() * 0.5)
                .collect();
            Tensor::from_data(TensorData::new(values, [rows, columns]), &table.device())
        });
        Self { table, ..self }
    }

    pub(crate) fn line(&self, index: usize, class: usize) -> [f64; 3] {
        let row = self.table.val().narrow(0, index * self.classes + class, 1);
        let values = row.into_data().try_to_vec::<f32>().expect("f32 data");
        [0, 1, 2].map(|i| f64::from(values[i]))
    }

    pub(crate) fn set(&mut self, index: usize, class: usize, line: [f64; 3]) {
        let row = index * self.classes + class;
        let values = line.map(|v| v as f32).to_vec();
        let values = Tensor::from_data(TensorData::new(values, [1, 3]), &Device::flex());
        let table = self.table.val().slice_assign([row..row + 1, 0..3], values);
        self.table = Param::initialized(self.table.id, table);
    }
}

impl Network for Table {
    fn forward(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Tensor<4> {
        let none = vec![None; time.len()];
        let classes = inputs.classes.as_ref().unwrap_or(&none);
        let row = |(&time, class): (&f64, &Option<u32>)| {
            let index = (time / 1000.0 * self.intervals as f64).round() as usize;
            let class = class.map_or(self.classes - 1, |class| class as usize);
            (index * self.classes + class) as i32
        };
        let rows: Vec<i32> = time.iter().zip(classes).map(row).collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [time.len()]), &z.device());
        let coefficients = self.table.val().select(0, rows);
        let column = |index| -> Tensor<4> {
            let column: Tensor<2> = coefficients.clone().narrow(1, index, 1);
            column.reshape([time.len(), 1, 1, 1])
        };
        let v = z * column(0) + column(2);
        match &inputs.control {
            Some(control) => v + control.clone() * column(1),
            None => v,
        }
    }
}

/// Images of the distribution and, where a slope and a noise are given, conditions c = slope x +
/// noise.
pub(crate) fn image(
    clock: u64,
    gaussian: Gaussian,
    condition: Option<(f64, f64)>,
) -> (Tensor<4>, Option<Tensor<4>>) {
    let samples: Vec<u64> = (clock..clock + BATCH as u64).collect();
    let normal = |seed| {
        let device = Device::flex();
        random::normal(seed, &samples, Purpose::InitialNoise, SHAPE, &device)
    };
    let x = normal(99) * gaussian.s + gaussian.mu;
    let control = condition.map(|(slope, noise)| x.clone() * slope + normal(98) * noise);
    (x, control)
}

pub(crate) fn batch(clock: u64, (images, control): (Tensor<4>, Option<Tensor<4>>)) -> Batch {
    Batch {
        // Images without conditions are those of class 0.
        inputs: Inputs {
            classes: control.is_none().then(|| vec![Some(0); BATCH]),
            control,
            ..Inputs::default()
        },
        images,
        clock,
        update: clock,
    }
}

pub(crate) fn model(network: Table) -> DiffusionModel<Table> {
    DiffusionModel {
        network,
        schedule: Schedule::default(),
        prediction: PredictionKind::V,
    }
}

/// Trains a student with an average over the last updates; returns the average.
pub(crate) fn train(
    student: Table,
    objective: &dyn Objective,
    data: impl Fn(u64) -> (Tensor<4>, Option<Tensor<4>>),
    updates: u64,
) -> Table {
    let optim = format!("batch = {BATCH}\nlr = 0.05\nclip = 100.0\nema = {{ decay = 0.95 }}");
    let optim: OptimConfig = toml::from_str(&optim).expect("valid");
    let mut stepper = Stepper::new(model(student), optim, updates);
    for update in 0..updates {
        let clock = update * BATCH as u64;
        let batch = batch(clock, data(clock));
        stepper.update(objective, &[batch], 7).expect("finite");
    }
    stepper.result()
}

/// The loss of each sample for a student that is its own average.
pub(crate) fn objective_loss(objective: &dyn Objective, student: &Table, batch: Batch) -> Vec<f32> {
    let model = model(student.clone());
    let student = Student {
        online: &model,
        target: &model,
        others: &[],
    };
    let loss = objective.loss(student, &batch, 3).per_sample;
    loss.into_data().try_to_vec().expect("f32 data")
}

/// Gradients of the student's coefficients, and of those of a target with a graph of its own.
pub(crate) fn gradients(
    objective: &dyn Objective,
    student: &Table,
    batch: Batch,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let tracked = || model(student.clone().unfreeze().train());
    let (online, target) = (tracked(), tracked());
    let both = Student {
        online: &online,
        target: &target,
        others: &[],
    };
    let gradients = objective.loss(both, &batch, 3).per_sample.mean().backward();
    let of = |model: &DiffusionModel<Table>| {
        let gradient = model.network.table.val().grad(&gradients)?;
        gradient.into_data().try_to_vec::<f32>().ok()
    };
    (
        of(&online).expect("the student has a gradient"),
        of(&target),
    )
}
