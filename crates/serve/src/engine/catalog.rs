//! The models by their names, and those of them that are in memory.

use crate::config::{Config, Load, NamedModel};
use crate::error::{ApiError, ServeError};
use axum::http::StatusCode;
use fewstep_data::amount;
use fewstep_generate::{
    Extent, GenerateError, Generator, LoraChoice, ModelSource, Predicted, RegistryError,
};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A model in memory.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) generator: Arc<Generator>,
    source: ModelSource,
    loras: Vec<LoraChoice>,
    needs: Needs,
}

impl Loaded {
    /// Its LoRA as prompts name them.
    pub(crate) fn loras(&self) -> impl Iterator<Item = String> {
        self.loras.iter().map(LoraChoice::tag)
    }
}

/// Models with LoRA that are kept in memory, at most.
const MOST_WITH_LORAS: usize = 4;

/// Bytes that a model takes, as they are predicted.
#[derive(Clone, Copy)]
struct Needs {
    /// Of its weights, as long as it is in memory.
    weights: u64,
    /// While it generates one image of the usual size.
    working: u64,
}

impl Needs {
    fn of(generator: &Generator) -> Result<Self, GenerateError> {
        let weights = generator.weight_bytes();
        let one = generator.memory(&extent(1, None))?.of_networks();
        Ok(Self {
            weights,
            working: one.saturating_sub(weights),
        })
    }

    fn all(self) -> u64 {
        self.weights.saturating_add(self.working)
    }
}

fn extent(images: usize, size: Option<[usize; 2]>) -> Extent {
    Extent {
        images: images as u64,
        size,
        batch: images,
        w: None,
    }
}

/// The models by their names, and those of them that are in memory.
pub(crate) struct Catalog {
    models: Vec<NamedModel>,
    memory: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that was used last comes last.
    loaded: Vec<Arc<Loaded>>,
    /// What all that were ever loaded need.
    known: HashMap<String, Needs>,
}

impl Catalog {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            models: config.models.clone(),
            memory: config.memory,
            state: Mutex::default(),
        }
    }

    /// All models.
    pub(crate) fn models(&self) -> &[NamedModel] {
        &self.models
    }

    /// The name of a model as it is configured. Without one it is the first.
    pub(crate) fn name(&self, asked: Option<&str>) -> Result<String, ApiError> {
        let Some(asked) = asked else {
            return Ok(self.models[0].name.clone());
        };
        let named = |model: &&NamedModel| model.name == asked || model.reference == asked;
        match self.models.iter().find(named) {
            Some(model) => Ok(model.name.clone()),
            None => {
                let names: Vec<&str> = self.models.iter().map(|m| m.name.as_str()).collect();
                let names = names.join(", ");
                Err(ApiError {
                    field: Some("model".into()),
                    ..ApiError::not_found(format!(
                        "this server has no model `{asked}`; it has: {names}"
                    ))
                })
            }
        }
    }

    /// The model of a configured name for the number of steps with these LoRA, if it is in memory.
    pub(crate) fn loaded(
        &self,
        name: &str,
        steps: Option<usize>,
        loras: &[LoraChoice],
    ) -> Option<Arc<Loaded>> {
        let source = self.source(name, steps)?;
        let mut state = self.lock();
        let is_it = |model: &Arc<Loaded>| {
            model.name == name && model.source == *source && model.loras == loras
        };
        let found = state.loaded.iter().position(is_it)?;
        let model = state.loaded.remove(found);
        state.loaded.push(model.clone());
        Some(model)
    }

    /// Any model of this name that is in memory.
    pub(crate) fn any_loaded(&self, name: &str) -> Option<Arc<Loaded>> {
        let state = self.lock();
        let mut models = state.loaded.iter().rev();
        models.find(|model| model.name == name).cloned()
    }

    /// Bytes of the weights in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().loaded.iter().map(|m| m.needs.weights).sum()
    }

    /// Loads the model that requests get when they name none.
    pub(super) fn load_first(&self, load: &Load) -> Result<(), ServeError> {
        let first = &self.models[0];
        let model = self.read(&first.name, first.family.suited(None), &[], load)?;
        let needed = model.needs.all();
        if let Some(allowed) = self.memory.filter(|&allowed| needed > allowed) {
            return Err(ServeError::Memory {
                name: first.name.clone(),
                needed,
                allowed,
            });
        }
        self.keep(model);
        Ok(())
    }

    /// Loads a model of a configured name. Those that were not used for longest leave first.
    pub(super) fn load(
        &self,
        name: &str,
        steps: Option<usize>,
        loras: &[LoraChoice],
        load: &Load,
    ) -> Result<Arc<Loaded>, ApiError> {
        if let Some(model) = self.loaded(name, steps, loras) {
            return Ok(model);
        }
        let source = self.source(name, steps).ok_or_else(ApiError::internal)?;
        let known = self.lock().known.get(&key(source)).copied();
        if let Some(needs) = known {
            self.check_fits(name, needs)?;
            self.make_room(needs);
        }
        let model = self.read(name, source, loras, load).map_err(|error| {
            if let Some(reason) = error.of_lora() {
                let message = format!("the model `{name}` cannot have this LoRA: {reason}");
                return ApiError::field("loras", message);
            }
            tracing::error!(model = name, %error, "a model cannot be loaded");
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the model `{name}` cannot be loaded: the server's log says why"),
            )
        })?;
        self.check_fits(name, model.needs)?;
        self.make_room(model.needs);
        Ok(self.keep(model))
    }

    fn source(&self, name: &str, steps: Option<usize>) -> Option<&ModelSource> {
        let model = self.models.iter().find(|model| model.name == name)?;
        Some(model.family.suited(steps))
    }

    fn read(
        &self,
        name: &str,
        source: &ModelSource,
        loras: &[LoraChoice],
        load: &Load,
    ) -> Result<Loaded, RegistryError> {
        let generator = load(source, loras)?;
        let needs = Needs::of(&generator)?;
        self.lock().known.insert(key(source), needs);
        let Needs { weights, working } = needs;
        tracing::info!(
            model = name,
            loras = loras.len(),
            weights,
            working,
            "a model is loaded"
        );
        Ok(Loaded {
            name: name.into(),
            source: source.clone(),
            loras: loras.to_vec(),
            needs,
            generator: generator.into(),
        })
    }

    fn keep(&self, model: Loaded) -> Arc<Loaded> {
        let model = Arc::new(model);
        let loaded = &mut self.lock().loaded;
        loaded.push(model.clone());
        // Weights of LoRA are numbers of requests: without a bound there would be ever more.
        let with_loras = loaded.iter().filter(|model| !model.loras.is_empty());
        if with_loras.count() > MOST_WITH_LORAS
            && let Some(oldest) = loaded.iter().position(|model| !model.loras.is_empty())
        {
            loaded.remove(oldest);
        }
        model
    }

    fn check_fits(&self, name: &str, needs: Needs) -> Result<(), ApiError> {
        match self.memory.filter(|&memory| needs.all() > memory) {
            None => Ok(()),
            Some(memory) => Err(ApiError {
                field: Some("model".into()),
                ..ApiError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!(
                        "the model `{name}` takes {} of memory, and models may take {} on this server",
                        amount(needs.all()),
                        amount(memory)
                    ),
                )
            }),
        }
    }

    /// Drops models until one of these needs fits. Jobs that wait for a dropped one still have it.
    fn make_room(&self, needs: Needs) {
        let Some(memory) = self.memory else {
            return;
        };
        let mut state = self.lock();
        // One of them works at a time.
        let taken = |state: &State| {
            let all = || state.loaded.iter().map(|model| model.needs);
            let weights = all().map(|needs| needs.weights).sum::<u64>();
            let working = all().map(|needs| needs.working).max().unwrap_or(0);
            weights + needs.weights + working.max(needs.working)
        };
        while !state.loaded.is_empty() && taken(&state) > memory {
            let dropped = state.loaded.remove(0);
            tracing::info!(model = dropped.name, "a model leaves the memory");
        }
    }

    /// How many images of a size, at most `most`, the memory allows in one network call next to the
    /// weights of all models; none if there is no room for one.
    pub(crate) fn batch(
        &self,
        model: &Loaded,
        size: Option<[usize; 2]>,
        most: usize,
    ) -> Option<usize> {
        let fits = |images: &usize| {
            let needed = model.generator.memory(&extent(*images, size));
            needed.is_ok_and(|needed| self.allows(needed, &[model]))
        };
        let mut halves =
            std::iter::successors(Some(most.max(1)), |most| (*most > 1).then_some(most / 2));
        halves.find(fits)
    }

    /// Whether there is room for work that takes this much, with the weights of these models, next
    /// to the weights of all others in memory.
    pub(crate) fn allows(&self, needed: Predicted, models: &[&Loaded]) -> bool {
        let Some(memory) = self.memory else {
            return true;
        };
        // A model of a job that waits may have left in the meantime, or be another one that is
        // loaded anew.
        let is_of_work = |model: &Loaded| models.iter().any(|own| std::ptr::eq(*own, model));
        let state = self.lock();
        let others = state.loaded.iter().filter(|model| !is_of_work(model));
        let others: u64 = others.map(|model| model.needs.weights).sum();
        needed.of_networks().saturating_add(others) <= memory
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only whole models are put in and taken out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source as a key.
fn key(source: &ModelSource) -> String {
    format!("{source:?}")
}
