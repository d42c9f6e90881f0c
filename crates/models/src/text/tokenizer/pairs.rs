//! Byte-pair encoding (Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units") in
//! little memory. What it makes of a text is what the tokenizers library makes of it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use serde::Deserialize;
use tokenizers::models::bpe::BPE;
use tokenizers::{Error, Token};

use super::merges::{Merge, Merges};
use super::recent::Recent;
use super::words::Words;

/// A vocabulary, and the pairs of it that are merged.
#[derive(Debug, Clone)]
pub(crate) struct Pairs {
    words: Words,
    merges: Merges,
    manner: Manner,
    recent: Recent,
}

/// What is done with letters without a token, and with whole words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    /// Stands for letters that have no token; without it they are left out.
    pub(crate) unknown: Option<String>,
    /// Such letters side by side are one token.
    pub(crate) fuses_unknown: bool,
    /// They are the tokens of their bytes, `<0x0A>`, where all of these are there.
    pub(crate) falls_back_to_bytes: bool,
    /// A piece of text that is a token is that token, whatever merges would make of it.
    pub(crate) keeps_whole: bool,
}

/// A token on its way to be merged with those beside it.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    token: u32,
    /// Of the text; 0: it became a part of the one before it.
    bytes: u32,
    /// Places of those beside it, or [`NOWHERE`]: a text without words, which one of these is made for each letter of, may
    /// be as long as a request.
    before: u32,
    next: u32,
}

const NOWHERE: u32 = u32::MAX;

fn place(place: u32) -> Option<usize> {
    (place != NOWHERE).then_some(place as usize)
}

/// Two symbols that can be merged: first those of the lowest rank, then the leftmost.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: u32,
    made: u32,
}

impl Pairs {
    /// Words in the order of their ids, and which two of them become which third one: the first merge first.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn new<'a>(
        words: impl ExactSizeIterator<Item = &'a str> + Clone,
        merges: impl Iterator<Item = (&'a str, &'a str)>,
        manner: Manner,
    ) -> Result<Self, String> {
        let words = Words::new(words).ok_or("its words are too long")?;
        let id = |word: &str| {
            let id = words.id(word);
            id.ok_or_else(|| format!("a merge is of {word:?}, which is no token"))
        };
        let mut both = String::new();
        let merges = merges.map(|(left, right)| {
            both.clear();
            both.push_str(left);
            both.push_str(right);
            Ok(Merge {
                pair: [id(left)?, id(right)?],
                made: id(&both)?,
            })
        });
        let mut merges = merges.collect::<Result<Vec<_>, String>>()?;
        merges.shrink_to_fit();
        Ok(Self {
            merges: Merges::new(merges),
            words,
            manner,
            recent: Recent::default(),
        })
    }

    /// The same encoding as the library's; `None`: it has something that is not built here.
    pub(super) fn of(model: &BPE) -> Option<Self> {
        /// What the library does not show otherwise.
        #[derive(Deserialize)]
        struct Form {
            merges: Vec<(String, String)>,
        }

        let is_absent = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
        let is_plain = is_absent(&model.continuing_subword_prefix)
            && is_absent(&model.end_of_word_suffix)
            && model.dropout.is_none_or(|dropout| dropout == 0.0);
        if !is_plain {
            return None;
        }
        let mut words: Vec<(String, u32)> = model.get_vocab().into_iter().collect();
        words.sort_unstable_by_key(|(_, id)| *id);
        if (0..).zip(&words).any(|(place, (_, id))| place != *id) {
            return None;
        }
        let form = serde_json::to_vec(model).ok()?;
        let form: Form = serde_json::from_slice(&form).ok()?;
        let manner = Manner {
            unknown: model.unk_token.clone(),
            fuses_unknown: model.fuse_unk,
            falls_back_to_bytes: model.byte_fallback,
            keeps_whole: model.ignore_merges,
        };
        let words = words.iter().map(|(word, _)| word.as_str());
        let merges = form.merges.iter();
        let merges = merges.map(|(left, right)| (left.as_str(), right.as_str()));
        Self::new(words, merges, manner).ok()
    }

    /// The tokens of a piece of text.
    ///
    /// # Errors
    /// Where letters are unknown, and what stands for them as well.
    pub(super) fn tokens(&self, text: &str) -> Result<Vec<Token>, Error> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if self.manner.keeps_whole
            && let Some(id) = self.words.id(text)
        {
            return Ok(vec![Token::new(id, text.to_owned(), (0, text.len()))]);
        }
        if let Some(tokens) = self.recent.get(text) {
            return Ok(tokens);
        }
        let (mut symbols, are_known) = self.letters(text)?;
        self.merge(&mut symbols);
        let mut at = 0;
        let left = symbols.into_iter().filter(|symbol| symbol.bytes > 0);
        let tokens = left.map(|symbol| {
            let start = at;
            at += symbol.bytes as usize;
            // Letters that are tokens, and what is made of those, are spelt as the text is.
            let word = if are_known {
                text.get(start..at)
            } else {
                self.words.word(symbol.token)
            };
            Token::new(
                symbol.token,
                word.unwrap_or_default().to_owned(),
                (start, at),
            )
        });
        let tokens: Vec<_> = tokens.collect();
        if are_known {
            self.recent.keep(text, &tokens);
        }
        Ok(tokens)
    }

    /// The tokens of single letters, and whether each letter has one.
    fn letters(&self, text: &str) -> Result<(Vec<Symbol>, bool), Error> {
        if text.len() >= NOWHERE as usize {
            return Err(format!("a word of {} bytes is too long", text.len()).into());
        }
        let mut symbols = Vec::with_capacity(text.len());
        let mut push = |token: u32, bytes: usize| {
            let place = symbols.len() as u32;
            symbols.push(Symbol {
                token,
                bytes: bytes as u32,
                before: place.checked_sub(1).unwrap_or(NOWHERE),
                next: place + 1,
            });
        };
        let mut are_known = true;
        let mut unknown: Option<(u32, usize)> = None;
        for (at, letter) in text.char_indices() {
            let letter = &text[at..at + letter.len_utf8()];
            if let Some(token) = self.words.id(letter) {
                if let Some((token, bytes)) = unknown.take() {
                    push(token, bytes);
                }
                push(token, letter.len());
                continue;
            }
            are_known = false;
            if let Some(tokens) = self.bytes(letter) {
                for token in tokens {
                    push(token, 1);
                }
            } else if let Some(name) = &self.manner.unknown {
                let bytes = match unknown {
                    Some((_, bytes)) if self.manner.fuses_unknown => bytes + letter.len(),
                    before => {
                        if let Some((token, bytes)) = before {
                            push(token, bytes);
                        }
                        letter.len()
                    }
                };
                let token = self.words.id(name);
                let token = token.ok_or_else(|| format!("the token {name:?} is not there"))?;
                unknown = Some((token, bytes));
            }
        }
        if let Some((token, bytes)) = unknown {
            push(token, bytes);
        }
        if let Some(last) = symbols.last_mut() {
            last.next = NOWHERE;
        }
        Ok((symbols, are_known))
    }

    /// The tokens of a letter's bytes, if all of them are there and count.
    fn bytes(&self, letter: &str) -> Option<Vec<u32>> {
        let token = |byte: u8| self.words.id(&format!("<0x{byte:02X}>"));
        let bytes = letter.bytes().filter(|_| self.manner.falls_back_to_bytes);
        let tokens: Option<Vec<u32>> = bytes.map(token).collect();
        tokens.filter(|tokens| !tokens.is_empty())
    }

    /// Merges symbols until no two that lie side by side are a pair.
    fn merge(&self, symbols: &mut [Symbol]) {
        let candidate = |symbols: &[Symbol], left: usize, right: usize| {
            let pair = [symbols[left].token, symbols[right].token];
            let (rank, made) = self.merges.of(pair)?;
            let left = left as u32;
            Some(Reverse(Candidate { rank, left, made }))
        };
        let first = (1..symbols.len()).filter_map(|right| candidate(symbols, right - 1, right));
        let mut queue: BinaryHeap<_> = first.collect();
        while let Some(Reverse(Candidate { left, made, .. })) = queue.pop() {
            let left = left as usize;
            let Symbol { bytes, next, .. } = symbols[left];
            let Some(right) = place(next).filter(|_| bytes > 0) else {
                continue;
            };
            // Either may have become another token since.
            let pair = [symbols[left].token, symbols[right].token];
            if self.merges.of(pair).is_none_or(|(_, now)| now != made) {
                continue;
            }
            let Symbol { bytes, next, .. } = symbols[right];
            symbols[right].bytes = 0;
            let symbol = &mut symbols[left];
            symbol.token = made;
            symbol.bytes += bytes;
            symbol.next = next;
            let before = place(symbol.before);
            if let Some(next) = place(next) {
                symbols[next].before = left as u32;
                queue.extend(candidate(symbols, left, next));
            }
            if let Some(before) = before {
                queue.extend(candidate(symbols, before, left));
            }
        }
    }

    /// The id of a word.
    pub(super) fn id(&self, word: &str) -> Option<u32> {
        self.words.id(word)
    }

    /// The word of an id.
    pub(super) fn word(&self, id: u32) -> Option<&str> {
        self.words.word(id)
    }

    /// How many words there are, each counted once.
    pub(super) fn distinct(&self) -> usize {
        self.words.distinct()
    }

    /// The largest id; `None` without words.
    pub(super) fn most(&self) -> Option<u32> {
        (self.words.len() as u32).checked_sub(1)
    }

    /// All words and their ids.
    pub(super) fn vocabulary(&self) -> HashMap<String, u32> {
        let ids = 0..self.words.len() as u32;
        ids.filter_map(|id| Some((self.words.word(id)?.to_owned(), id)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::Model;
    use tokenizers::models::bpe::Vocab;

    use super::*;

    /// Letters of texts; the last is in no vocabulary.
    const LETTERS: [&str; 5] = ["a", "b", "c", "é", "x"];

    /// The library's encoding: letters but for those left out, the bytes of "é", and tokens of two others each.
    fn library(left_out: &[bool], pairs: &[(usize, usize)], flags: [bool; 5]) -> BPE {
        let [has_unknown, fuses, falls_back, keeps_whole, has_both_bytes] = flags;
        let letters = LETTERS[..4].iter().zip(left_out);
        let mut words: Vec<String> = letters
            .filter(|(_, left_out)| !**left_out)
            .map(|(letter, _)| (*letter).to_owned())
            .collect();
        let mut merges = Vec::new();
        for (left, right) in pairs {
            if words.is_empty() {
                break;
            }
            let [left, right] = [left, right].map(|place| words[place % words.len()].clone());
            let both = format!("{left}{right}");
            if !words.contains(&both) {
                words.push(both);
            }
            merges.push((left, right));
        }
        words.push("<0xC3>".to_owned());
        if has_both_bytes {
            words.push("<0xA9>".to_owned());
        }
        if has_unknown {
            words.push("<unk>".to_owned());
        }
        let mut builder = BPE::builder()
            .vocab_and_merges(words.into_iter().zip(0..).collect::<Vocab>(), merges)
            .fuse_unk(fuses)
            .byte_fallback(falls_back)
            .ignore_merges(keeps_whole);
        if has_unknown {
            builder = builder.unk_token("<unk>".to_owned());
        }
        builder.build().unwrap()
    }

    proptest! {
        #[test]
        fn tokens_are_those_of_the_library(
            left_out in prop::collection::vec(any::<bool>(), 4),
            pairs in prop::collection::vec((any::<usize>(), any::<usize>()), 0..40),
            flags in any::<[bool; 5]>(),
            texts in prop::collection::vec(prop::collection::vec(0..LETTERS.len(), 0..40), 1..8),
        ) {
            let library = library(&left_out, &pairs, flags);
            let ours = Pairs::of(&library).unwrap();
            for text in texts {
                let text: String = text.into_iter().map(|letter| LETTERS[letter]).collect();
                let tokens = library.tokenize(&text).unwrap();
                // The second time from those that came lately.
                for _ in 0..2 {
                    prop_assert_eq!(&ours.tokens(&text).unwrap(), &tokens);
                }
            }
            prop_assert_eq!(ours.vocabulary(), Model::get_vocab(&library));
            prop_assert_eq!(ours.distinct(), library.get_vocab_size());
            for (word, id) in Model::get_vocab(&library) {
                prop_assert_eq!(ours.id(&word), Some(id));
                prop_assert_eq!(ours.word(id), Some(word.as_str()));
            }
            prop_assert_eq!(ours.most().map(|id| ours.word(id + 1)), Some(None));
        }
    }

    #[test]
    fn what_only_the_library_has_is_left_to_it() {
        let plain = || BPE::builder().vocab_and_merges([("a".to_owned(), 0)], Vec::new());
        assert!(Pairs::of(&plain().build().unwrap()).is_some());
        let empty = plain().end_of_word_suffix(String::new());
        assert!(Pairs::of(&empty.build().unwrap()).is_some());
        for other in [
            plain().dropout(0.1),
            plain().end_of_word_suffix("</w>".to_owned()),
            plain().continuing_subword_prefix("##".to_owned()),
            plain().vocab_and_merges([("a".to_owned(), 1)], Vec::new()),
        ] {
            assert!(Pairs::of(&other.build().unwrap()).is_none());
        }
    }

    #[test]
    fn an_unknown_token_that_is_not_there_is_told_when_it_is_wanted() {
        let builder = BPE::builder().vocab_and_merges([("a".to_owned(), 0)], Vec::new());
        let library = builder.unk_token("<unk>".to_owned()).build().unwrap();
        let ours = Pairs::of(&library).unwrap();
        assert_eq!(ours.tokens("a").unwrap(), library.tokenize("a").unwrap());
        assert!(library.tokenize("b").is_err());
        assert!(ours.tokens("b").unwrap_err().to_string().contains("<unk>"));
    }

    #[test]
    fn a_merge_of_what_is_no_token_is_refused() {
        let words = ["a", "b"];
        for merge in [("a", "b"), ("a", "c")] {
            let refused = Pairs::new(words.into_iter(), [merge].into_iter(), Manner::default());
            assert!(refused.unwrap_err().contains("no token"));
        }
    }
}
