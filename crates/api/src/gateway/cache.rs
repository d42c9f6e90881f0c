//! The cache of the gateways: whole answers, kept as long as who asked for them said. In memory and bounded, so that it
//! is empty after a restart and what was used least recently goes first. Streams are not kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Seconds that an answer is kept at least and at most (developers.cloudflare.com/ai-gateway/configuration/caching).
const TTL_MIN: u64 = 60;
const TTL_MAX: u64 = 30 * 24 * 60 * 60;
/// Where a key is given and no time (the same page).
const TTL_OF_KEY: u64 = 5 * 60;
/// Of all answers together, and of one.
const BYTES_MAX: usize = 64 << 20;
const ANSWER_BYTES_MAX: usize = 8 << 20;
const ANSWERS_MAX: usize = 4096;

/// What a request asks of the cache.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// Seconds.
    pub(super) ttl: Option<u64>,
    /// The caller's own name of the answer.
    pub(super) key: Option<String>,
    pub(super) skip: bool,
}

impl Wish {
    /// How long the answer may be kept; none where it is not asked for.
    fn duration(&self) -> Option<Duration> {
        let seconds = match (self.skip, self.ttl, &self.key) {
            (true, ..) | (false, Some(0), _) | (false, None, None) => return None,
            (false, Some(ttl), _) => ttl.clamp(TTL_MIN, TTL_MAX),
            (false, None, Some(_)) => TTL_OF_KEY,
        };
        Some(Duration::from_secs(seconds))
    }

    pub(super) fn is_for_cache(&self) -> bool {
        self.duration().is_some()
    }
}

/// The mark of an answer that is about a batch: it is another one each time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotKept;

/// Which answer: of a tenant's gateway, by the caller's own key, or by all that was asked.
pub(super) type Key = [u8; 32];

/// The key of a request: the parts are told apart by their lengths.
pub(super) fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The bytes of an answer that is no stream; a layer between may have hidden them from the body.
fn size(response: &Response) -> Option<u64> {
    let told = response.headers().get(header::CONTENT_LENGTH);
    let told = told.and_then(|length| length.to_str().ok()?.parse().ok());
    told.or(response.body().size_hint().exact())
}

struct Kept {
    headers: HeaderMap<HeaderValue>,
    body: Bytes,
    until: Instant,
    /// When it was used last, counted in uses.
    used: u64,
}

#[derive(Default)]
struct Answers {
    kept: HashMap<Key, Kept>,
    bytes: usize,
    uses: u64,
}

/// The answers of all gateways.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Answers>);

impl Cache {
    /// The answer that is kept under a key.
    pub(super) fn find(&self, key: &Key, now: Instant) -> Option<Response> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.uses += 1;
        let uses = answers.uses;
        let kept = answers.kept.get_mut(key).filter(|kept| now < kept.until)?;
        kept.used = uses;
        let mut response = Response::new(Body::from(kept.body.clone()));
        *response.headers_mut() = kept.headers.clone();
        Some(response)
    }

    /// Keeps an answer that is a whole success, and gives it back.
    pub(super) async fn keep(
        &self,
        key: Key,
        wish: &Wish,
        response: Response,
        now: Instant,
    ) -> Response {
        if response.extensions().get::<NotKept>().is_some() {
            return response;
        }
        let fits = size(&response).is_some_and(|size| size <= ANSWER_BYTES_MAX as u64);
        let (true, StatusCode::OK, Some(duration)) = (fits, response.status(), wish.duration())
        else {
            return response;
        };
        let (parts, body) = response.into_parts();
        let Ok(body) = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await else {
            return Response::from_parts(parts, Body::empty()); // not of a body that is no longer than it says
        };
        let kept = Kept {
            headers: parts.headers.clone(),
            body: body.clone(),
            until: now + duration,
            used: 0,
        };
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(key, kept, now);
        drop(answers);
        Response::from_parts(parts, Body::from(body))
    }
}

impl Answers {
    fn insert(&mut self, key: Key, mut kept: Kept, now: Instant) {
        self.remove(&key);
        let is_over = |answers: &Self| {
            answers.kept.len() >= ANSWERS_MAX || answers.bytes + kept.body.len() > BYTES_MAX
        };
        if is_over(self) {
            let old: Vec<Key> = self
                .kept
                .iter()
                .filter(|(_, old)| old.until <= now)
                .map(|(key, _)| *key)
                .collect();
            for key in &old {
                self.remove(key);
            }
        }
        while is_over(self) {
            let Some(oldest) = self
                .kept
                .iter()
                .min_by_key(|(_, kept)| kept.used)
                .map(|(key, _)| *key)
            else {
                break;
            };
            self.remove(&oldest);
        }
        self.uses += 1;
        kept.used = self.uses;
        self.bytes += kept.body.len();
        self.kept.insert(key, kept);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.bytes -= kept.body.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![b'a'; bytes]))
    }

    fn wish(ttl: u64) -> Wish {
        Wish {
            ttl: Some(ttl),
            ..Wish::default()
        }
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_its_time_and_at_least_a_minute() {
        let (cache, now) = (Cache::default(), Instant::now());
        let key = key([&b"a"[..], b"b"]);
        cache.keep(key, &wish(1), answer(3), now).await;
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(cache.find(&key, later(59)).is_some());
        assert!(cache.find(&key, later(60)).is_none());
        assert!(cache.find(&super::key([&b"ab"[..]]), now).is_none());
    }

    #[tokio::test]
    async fn memory_is_bounded_and_the_least_used_goes_first() {
        let (cache, now) = (Cache::default(), Instant::now());
        let most = (BYTES_MAX / ANSWER_BYTES_MAX) as u8;
        for number in 0..most {
            cache
                .keep([number; 32], &wish(600), answer(ANSWER_BYTES_MAX), now)
                .await;
        }
        assert!(cache.find(&[0; 32], now).is_some());
        cache.keep([most; 32], &wish(600), answer(1), now).await;
        assert!(cache.find(&[0; 32], now).is_some() && cache.find(&[most; 32], now).is_some());
        assert!(cache.find(&[1; 32], now).is_none());
        let large = cache
            .keep([9; 32], &wish(600), answer(ANSWER_BYTES_MAX + 1), now)
            .await;
        assert_eq!(
            large.body().size_hint().exact(),
            Some(ANSWER_BYTES_MAX as u64 + 1)
        );
        assert!(cache.find(&[9; 32], now).is_none());
    }

    #[test]
    fn only_a_time_or_a_key_asks_for_the_cache() {
        let of_key = Wish {
            key: Some("a".into()),
            ..Wish::default()
        };
        assert_eq!(of_key.duration(), Some(Duration::from_mins(5)));
        assert!(
            !Wish {
                skip: true,
                ..of_key.clone()
            }
            .is_for_cache()
        );
        assert!(!wish(0).is_for_cache() && !Wish::default().is_for_cache());
        assert_eq!(
            wish(u64::MAX).duration(),
            Some(Duration::from_secs(TTL_MAX))
        );
    }
}
