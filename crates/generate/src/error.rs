//! How a generator refuses.

use fewstep_diffusion::{GridError, RecipeError, ScheduleError, Task};
use fewstep_formats::FormatError;

/// A request that the model cannot fulfil.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// It contradicts the model's recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The steps cannot be spread over time.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// The recipe's schedule makes no sense.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A part of the model cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A model that generates from control images was given none.
    #[error("this model generates from a control image, and there is none")]
    NeedsControl {
        /// What it does with one.
        task: Task,
    },
    /// Control images that the model cannot generate from.
    #[error("control images of {given:?} (channels, height, width) do not fit: {reason}")]
    Control {
        /// Channels, height and width of what was given.
        given: [usize; 3],
        /// Why.
        reason: String,
    },
    /// An image without a class, of a model that has no class for that.
    #[error("this model was trained with a class for every image: say which to generate")]
    NoNullClass,
    /// A prompt for a model that reads none.
    #[error("this model reads no prompts: it is no latent diffusion model with a text encoder")]
    NoPrompts,
    /// A class for a model that reads prompts.
    #[error("this model has no classes: it generates from prompts")]
    NoClasses,
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
    InitSize {
        /// Which.
        what: &'static str,
        /// Its height and width.
        got: [usize; 2],
        /// Height and width asked for.
        expected: [usize; 2],
    },
    /// A negative prompt for a student, which has no second branch.
    #[error(
        "a negative prompt has no meaning for this student: guidance is folded into it, and it sees only the prompt. Omit the negative prompt, or use the teacher"
    )]
    NoNegative,
    /// A strength outside its range.
    #[error("the strength is {0}: it must lie above 0 (no change) and be at most 1 (a new image)")]
    Strength(f64),
    /// An image to be changed by a student of the stochastic sampler.
    #[error(
        "this student was distilled for the stochastic sampler, whose steps always begin at pure noise: it cannot start from an image"
    )]
    EditStochastic,
    /// A mask for a model that cannot see it.
    #[error(
        "this model generates whole images and sees no mask: inpainting needs a model whose U-Net has 9 input channels, or a ControlNet for it"
    )]
    NotForInpainting,
    /// No mask for a model that needs one.
    #[error("this model fills masked parts of images: it needs an image and a mask")]
    OnlyForInpainting,
    /// A sampler for ordinary models and a student that knows only its own.
    #[error(
        "this student was distilled for the {trained} sampler and cannot be sampled with {asked}: omit the sampler, or give a teacher or a student of stage one"
    )]
    NotForStudents {
        /// What it was distilled for.
        trained: &'static str,
        /// What was asked.
        asked: &'static str,
    },
    /// The observer asked to stop.
    #[error("cancelled")]
    Cancelled,
}
