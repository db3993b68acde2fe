//! What a generator is asked for, and how it refuses.

use fewstep_diffusion::sampler::Cancelled;
use fewstep_diffusion::{GridError, RecipeError, SamplerConfig};

/// What to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Class of each image; `None` is unconditional.
    pub classes: Vec<Option<u32>>,
    /// Index of the first image: image i of a seed is the same in every request.
    pub first: u64,
    /// All randomness.
    pub seed: u64,
    /// Steps.
    pub steps: usize,
    /// How to sample.
    pub sampler: SamplerConfig,
    /// Guidance weight; the recipe's default when not given.
    pub w: Option<f64>,
    /// Images per network call, at most.
    pub batch: usize,
}

/// A request that the model cannot fulfil.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// It contradicts the model's recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The steps cannot be spread over time.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// A model that draws from control images was given none.
    #[error("this model draws from a control image: use `fewstep {verb}`, which takes one")]
    NeedsControl {
        /// The verb that gives it one.
        verb: &'static str,
    },
    /// Control images that the model cannot draw from.
    #[error("control images of {given:?} (channels, height, width) do not fit: {reason}")]
    ControlSpec {
        /// Channels, height and width of what was given.
        given: [usize; 3],
        /// Why.
        reason: String,
    },
    /// The recipe's schedule makes no sense.
    #[error(transparent)]
    Schedule(#[from] fewstep_diffusion::ScheduleError),
    /// An image without a class, of a model that has no class for that.
    #[error("this model was trained with a class for every image: say which to draw")]
    NoNullClass,
    /// Images of a size that the network cannot halve as often as it does.
    #[error(
        "images of {}x{} do not fit this model: height and width must be multiples of {multiple}",
        size[0], size[1]
    )]
    Size {
        /// Height and width asked for.
        size: [usize; 2],
        /// What both must be a multiple of.
        multiple: usize,
    },
    /// An image to start from, or a mask, of another size than the images asked for.
    #[error("the {what} is {}x{} and the images asked for are {}x{}: give one of their size", got[0], got[1], expected[0], expected[1])]
    CanvasSize {
        /// Which.
        what: &'static str,
        /// Its height and width.
        got: [usize; 2],
        /// Height and width asked for.
        expected: [usize; 2],
    },
    /// A negative prompt for a student, which has no second branch.
    #[error(
        "a negative prompt has no meaning for this student: guidance is folded into it, and its single branch sees the prompt alone. Leave --negative-prompt away, or use the teacher"
    )]
    NoNegative,
    /// A strength outside its range.
    #[error("--strength is {0}: it must lie above 0 (no change) and be at most 1 (a new image)")]
    Strength(f64),
    /// An image to be changed by a student of the stochastic sampler.
    #[error(
        "this student was distilled for the stochastic sampler, whose steps always begin at noise alone: it cannot start from an image"
    )]
    EditStochastic,
    /// A mask for a model that cannot see it.
    #[error(
        "this model draws whole images and sees no mask: inpainting needs a model whose U-Net has 9 input channels"
    )]
    NotForFilling,
    /// No mask for a model that needs one.
    #[error(
        "this model fills masked parts of images: give it an image and a mask with `fewstep inpaint`"
    )]
    OnlyForFilling,
    /// A sampler for ordinary models and a student that knows only its own.
    #[error(
        "this student was distilled for the {trained} sampler alone and cannot be sampled with {asked}: leave the sampler away, or give a teacher or a student of stage one"
    )]
    NotForStudents {
        /// What it was distilled for.
        trained: &'static str,
        /// What was asked.
        asked: String,
    },
    /// The observer stopped it.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
