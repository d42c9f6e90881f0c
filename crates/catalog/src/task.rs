//! The tasks of the Workers AI catalogue: their names and ids.

/// A task of the catalogue. Rerankers belong to text classification, decision models to text generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// Text generation, and Cloudflare's decision models.
    TextGeneration,
    /// Text embeddings.
    TextEmbeddings,
    /// Text classification, and reranking.
    TextClassification,
    /// Automatic speech recognition.
    SpeechRecognition,
    /// Text to image.
    TextToImage,
    /// Text to speech.
    TextToSpeech,
    /// Translation.
    Translation,
    /// Summarization.
    Summarization,
    /// Image classification.
    ImageClassification,
    /// Object detection.
    ObjectDetection,
    /// Image to text.
    ImageToText,
    /// Voice activity detection: whether a speaker has finished.
    VoiceActivityDetection,
}

impl TaskKind {
    /// Every task, in the order of the catalogue.
    pub const ALL: [Self; 12] = [
        Self::TextGeneration,
        Self::TextEmbeddings,
        Self::TextClassification,
        Self::SpeechRecognition,
        Self::TextToImage,
        Self::TextToSpeech,
        Self::Translation,
        Self::Summarization,
        Self::ImageClassification,
        Self::ObjectDetection,
        Self::ImageToText,
        Self::VoiceActivityDetection,
    ];

    /// The name that the Workers AI catalogue gives the task, exact case; also the word of `models.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextGeneration => "Text Generation",
            Self::TextEmbeddings => "Text Embeddings",
            Self::TextClassification => "Text Classification",
            Self::SpeechRecognition => "Automatic Speech Recognition",
            Self::TextToImage => "Text-to-Image",
            Self::TextToSpeech => "Text-to-Speech",
            Self::Translation => "Translation",
            Self::Summarization => "Summarization",
            Self::ImageClassification => "Image Classification",
            Self::ObjectDetection => "Object Detection",
            Self::ImageToText => "Image-to-Text",
            Self::VoiceActivityDetection => "Voice Activity Detection",
        }
    }

    /// The id of the task in rows of `models/search`, a UUID.
    pub fn id(self) -> &'static str {
        match self {
            Self::TextGeneration => "c329a1f9-323d-4e91-b2aa-582dd4188d34",
            Self::TextEmbeddings => "0137cdcf-162a-4108-94f2-1ca59e8c65ee",
            Self::TextClassification => "19606750-23ed-4371-aab2-c20349b53a60",
            Self::SpeechRecognition => "dfce1c48-2a81-462e-a7fd-de97ce985207",
            Self::TextToImage => "3d6e1f35-341b-4915-a6c8-9a7142a9033a",
            Self::TextToSpeech => "b52660a1-9a95-4ab2-8b1d-f232be34604a",
            Self::Translation => "f57d07cb-9087-487a-bbbf-bc3e17fecc4b",
            Self::Summarization => "6f4e65d8-da0f-40d2-9aa4-db582a5a04fd",
            Self::ImageClassification => "00cd182b-bf30-4fc4-8481-84a3ab349657",
            Self::ObjectDetection => "9c178979-90d9-49d8-9e2c-0f1cf01815d4",
            Self::ImageToText => "882a91d1-c331-4eec-bdad-834c919942a8",
            Self::VoiceActivityDetection => "ccb1ca5a-043d-41a7-8a3b-61017b2796fd",
        }
    }
}
