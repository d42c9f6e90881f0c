//! Conversion to Markdown: this version converts nothing, and says so.

use axum::response::Response;

use super::envelope::{Declined, success_first};

/// `POST .../ai/tomarkdown`, and the binding's own route.
pub(crate) async fn convert() -> Declined {
    Declined::unserved("toMarkdown")
}

/// The kinds of files that can be converted here: none.
pub(crate) async fn supported() -> Response {
    let none: [(); 0] = [];
    success_first(&none)
}
