//! Why a generator refuses a request.

use fewstep_diffusion::limits::OutOfRange;
use fewstep_diffusion::{GridError, RecipeError, ScheduleError, Task};
use fewstep_formats::FormatError;
use fewstep_nn::ExtraInput;

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
    /// No control image for a model that generates from one.
    #[error("this model generates from a control image, and there is none")]
    NeedsControl {
        /// What it does with one.
        task: Task,
    },
    /// A control image of a shape that does not fit.
    #[error("control images of {given:?} (channels, height, width) do not fit: {reason}")]
    Control {
        /// Channels, height and width of what was given.
        given: [usize; 3],
        /// Why.
        reason: String,
    },
    /// No class for a model that needs one for every image.
    #[error("this model was trained with a class for every image: choose one")]
    NoNullClass,
    /// A prompt for a model that reads none.
    #[error("this model reads no prompts: it has no text encoder")]
    NoPrompts,
    /// A class for a model that reads prompts.
    #[error("this model has no classes: it generates from prompts")]
    NoClasses,
    /// A size that the network cannot halve often enough.
    #[error(
        "images of {}x{} do not fit this model: height and width must be multiples of {multiple}",
        size[0], size[1]
    )]
    Size {
        /// The requested height and width.
        size: [usize; 2],
        /// What both must be a multiple of.
        multiple: usize,
    },
    /// An init image or a mask of the wrong size.
    #[error("the {what} is {}x{} and the result has {}x{} pixels: give one of that size", got[0], got[1], expected[0], expected[1])]
    InitSize {
        /// Which.
        what: &'static str,
        /// Its height and width.
        got: [usize; 2],
        /// The requested height and width.
        expected: [usize; 2],
    },
    /// An init image or a mask with the wrong number of channels.
    #[error("the {what} has {got} channels and must have {expected}")]
    InitChannels {
        /// Which.
        what: &'static str,
        /// Its channels.
        got: usize,
        /// Those of the images that the model generates; 1 for a mask.
        expected: usize,
    },
    /// A negative prompt for a student, which has no second branch.
    #[error(
        "a negative prompt has no meaning for this student: guidance is folded into it, and it sees only the prompt. Omit the negative prompt, or use the teacher"
    )]
    NoNegative,
    /// A strength outside its range.
    #[error("the strength is {0}: it must lie above 0 (no change) and be at most 1 (a new image)")]
    Strength(f64),
    /// An init image for a student of the stochastic sampler.
    #[error(
        "this student was distilled for the stochastic sampler, whose steps always begin at pure noise: it cannot start from an image"
    )]
    EditStochastic,
    /// A mask for a model that takes none.
    #[error(
        "this model generates whole images and takes no mask: inpainting needs a model whose U-Net has 9 input channels, or a ControlNet for it"
    )]
    NotForInpainting,
    /// No mask for a model that needs one.
    #[error("this model fills masked parts of images: it needs an image and a mask")]
    OnlyForInpainting,
    /// No source image for a model that edits by instruction.
    #[error(
        "this model edits images by instruction: it needs an image, and a prompt that says what to change"
    )]
    OnlyForInstruct,
    /// A source image for a model that sees none.
    #[error(
        "this model sees no source image: editing by instruction needs a model whose U-Net has 8 input channels, or a ControlNet for it"
    )]
    NotForInstruct,
    /// A sampler of teachers for a student that was distilled for another.
    #[error(
        "this student was distilled for the {trained} sampler and cannot be sampled with {asked}: omit the sampler, or give a teacher or a student of stage one"
    )]
    NotForStudents {
        /// What it was distilled for.
        trained: &'static str,
        /// What was requested.
        asked: &'static str,
    },
    /// More layers to skip than the text encoder has.
    #[error("{0}")]
    ClipSkip(String),
    /// A number outside its range.
    #[error(transparent)]
    Number(#[from] OutOfRange),
    /// Images of values that are none.
    #[error(
        "the model gives values that are infinite or not a number, which are no image: its weights, w or the weight of a LoRA are too large for the numbers that it computes with; try a smaller w or weight, or another copy of the model"
    )]
    NotFinite,
    /// The observer asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl GenerateError {
    /// The refusal of a request without what a network sees next to its latents.
    pub(crate) fn needs(extra: ExtraInput) -> Self {
        match extra {
            ExtraInput::MaskedImage => Self::OnlyForInpainting,
            ExtraInput::SourceImage => Self::OnlyForInstruct,
        }
    }
}
