//! What `env.AI.autorag()` asks: there is no AutoRAG here, so that the list is empty and none is found.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::envelope::success_first;
use crate::errors::json;

/// `GET /autorag/rags`.
pub(crate) async fn list() -> Response {
    let none: [(); 0] = [];
    success_first(&none)
}

/// `POST /autorag/rags/{id}/search` and `.../ai-search`.
pub(crate) async fn ask() -> Response {
    not_found()
}

/// The error of the services around Workers AI for what is not there.
pub(crate) fn not_found() -> Response {
    #[derive(Serialize)]
    struct Envelope {
        success: bool,
        errors: [Entry; 1],
        messages: [(); 0],
        result: (),
    }
    #[derive(Serialize)]
    struct Entry {
        code: u16,
        message: &'static str,
    }
    let entry = Entry {
        code: 7002,
        message: "Not Found",
    };
    json(
        StatusCode::NOT_FOUND,
        &Envelope {
            success: false,
            errors: [entry],
            messages: [],
            result: (),
        },
    )
}
