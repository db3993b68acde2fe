//! The models by their names, and those of them that are in memory.

use crate::config::{Config, Load, NamedModel};
use crate::error::{ApiError, ServeError};
use axum::http::StatusCode;
use fewstep_data::amount;
use fewstep_generate::{Extent, Generator, ModelSource, RegistryError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A model in memory.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) generator: Generator,
    source: ModelSource,
    bytes: u64,
    /// Bytes that it takes while it generates.
    working: u64,
}

/// The models by their names, and those of them that are in memory.
pub(crate) struct Catalog {
    models: Vec<NamedModel>,
    memory: Option<u64>,
    machine: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that was used last comes last.
    loaded: Vec<Arc<Loaded>>,
    /// Bytes of all that were ever loaded.
    known: HashMap<String, u64>,
}

impl Catalog {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            models: config.models.clone(),
            memory: config.memory,
            machine: config.machine,
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

    /// The model of a configured name for the number of steps, if it is in memory.
    pub(crate) fn loaded(&self, name: &str, steps: Option<usize>) -> Option<Arc<Loaded>> {
        let source = self.source(name, steps)?;
        let mut state = self.lock();
        let is_it = |model: &Arc<Loaded>| model.name == name && model.source == *source;
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
        self.lock().loaded.iter().map(|model| model.bytes).sum()
    }

    /// Loads the model that requests get when they name none.
    pub(super) fn load_first(&self, load: &Load) -> Result<(), ServeError> {
        let first = &self.models[0];
        let model = self.read(&first.name, first.family.suited(None), load)?;
        for (needed, allowed) in self.limits(&model) {
            if let Some(allowed) = allowed.filter(|&allowed| needed > allowed) {
                return Err(ServeError::Memory {
                    name: first.name.clone(),
                    needed,
                    allowed,
                });
            }
        }
        self.keep(model);
        Ok(())
    }

    /// Loads a model of a configured name. Those that were not used for longest leave first.
    pub(super) fn load(
        &self,
        name: &str,
        steps: Option<usize>,
        load: &Load,
    ) -> Result<Arc<Loaded>, ApiError> {
        if let Some(model) = self.loaded(name, steps) {
            return Ok(model);
        }
        let source = self.source(name, steps).ok_or_else(ApiError::internal)?;
        let known = self.lock().known.get(&key(source)).copied();
        if let Some(bytes) = known {
            self.check_fits(name, bytes, self.memory)?;
            self.make_room(bytes, self.memory);
        }
        let model = self.read(name, source, load).map_err(|error| {
            tracing::error!(model = name, %error, "a model cannot be loaded");
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the model `{name}` cannot be loaded: the server's log says why"),
            )
        })?;
        for (needed, allowed) in self.limits(&model) {
            self.check_fits(name, needed, allowed)?;
            self.make_room(needed, allowed);
        }
        Ok(self.keep(model))
    }

    /// What a model takes, its weights and while it generates, each with what there is.
    fn limits(&self, model: &Loaded) -> [(u64, Option<u64>); 2] {
        [(model.bytes, self.memory), (model.working, self.machine)]
    }

    fn source(&self, name: &str, steps: Option<usize>) -> Option<&ModelSource> {
        let model = self.models.iter().find(|model| model.name == name)?;
        Some(model.family.suited(steps))
    }

    fn read(&self, name: &str, source: &ModelSource, load: &Load) -> Result<Loaded, RegistryError> {
        let generator = load(source)?;
        let bytes = generator.weight_bytes();
        let working = generator.memory(&Extent {
            images: 1,
            size: None,
            batch: 1,
            w: None,
        })?;
        self.lock().known.insert(key(source), bytes);
        tracing::info!(model = name, bytes, "a model is loaded");
        Ok(Loaded {
            name: name.into(),
            source: source.clone(),
            bytes,
            working,
            generator,
        })
    }

    fn keep(&self, model: Loaded) -> Arc<Loaded> {
        let model = Arc::new(model);
        self.lock().loaded.push(model.clone());
        model
    }

    fn check_fits(&self, name: &str, bytes: u64, memory: Option<u64>) -> Result<(), ApiError> {
        match memory.filter(|&memory| bytes > memory) {
            None => Ok(()),
            Some(memory) => Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "the model `{name}` takes {} of memory, and models may take {} on this server",
                    amount(bytes),
                    amount(memory)
                ),
            )),
        }
    }

    /// Drops models until one of this size fits into the memory. Jobs that wait for a dropped one
    /// still have it.
    fn make_room(&self, bytes: u64, memory: Option<u64>) {
        let Some(memory) = memory else {
            return;
        };
        let mut state = self.lock();
        let taken = |state: &State| state.loaded.iter().map(|model| model.bytes).sum::<u64>();
        while !state.loaded.is_empty() && taken(&state) + bytes > memory {
            let dropped = state.loaded.remove(0);
            tracing::info!(model = dropped.name, "a model leaves the memory");
        }
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
