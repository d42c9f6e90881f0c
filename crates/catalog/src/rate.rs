//! What a unit of work costs: one shape for each way in which the price list counts.

/// What a unit of work costs, in USD or in neurons. A tile is 512 x 512 pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Per million tokens.
    Tokens {
        /// Per million input tokens.
        input: f64,
        /// Per million input tokens that were in the prompt cache; `None`: as the others.
        cached_input: Option<f64>,
        /// Per million output tokens; `None` for tasks without them.
        output: Option<f64>,
    },
    /// Per minute of audio.
    AudioMinute {
        /// Of a request.
        minute: f64,
        /// Of a WebSocket; `None`: as a request.
        websocket: Option<f64>,
    },
    /// Per thousand characters of text.
    ThousandCharacters(f64),
    /// Per tile of the output, and per step.
    TileAndStep {
        /// Per tile.
        tile: f64,
        /// Per step.
        step: f64,
    },
    /// Per tile of the images that are given and made.
    Tiles {
        /// Per tile of an input image.
        input: f64,
        /// Per tile of the output.
        output: f64,
    },
    /// As [`Rate::Tiles`], for each step.
    TileSteps {
        /// Per tile of an input image and step.
        input: f64,
        /// Per tile of the output and step.
        output: f64,
    },
    /// Per megapixel.
    Megapixels {
        /// The first of the output.
        first: f64,
        /// Each further one of the output.
        next: f64,
        /// Each of the input images.
        input: f64,
    },
    /// Per million images.
    MillionImages(f64),
}
