//! A Hugging Face `tokenizer.json` as `transformers` uses it: no truncation, no padding.

use tokenizers::{AddedToken, Tokenizer};

pub struct TextTokenizer {
    inner: Tokenizer,
}

impl TextTokenizer {
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let mut inner = Tokenizer::from_bytes(json).map_err(|e| e.to_string())?;
        // A file may carry the settings of its last training run; transformers resets them on
        // each plain call, and here a silently cut prompt would be a wrong sample.
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        // C++ holds ids as int32_t.
        if let Some((token, id)) = inner.get_vocab(true).iter().max_by_key(|(_, id)| **id) {
            if *id > i32::MAX as u32 {
                return Err(format!("token '{token}' has id {id}, above {}", i32::MAX));
            }
        }
        Ok(Self { inner })
    }

    /// Adds a token that the file does not know; returns its id. A known one keeps its id.
    pub fn add_token(&mut self, token: AddedToken) -> Result<u32, String> {
        let content = token.content.clone();
        let added = if token.special {
            self.inner.add_special_tokens([token])
        } else {
            self.inner.add_tokens([token])
        };
        added.map_err(|e| e.to_string())?;
        self.token_to_id(&content)
            .ok_or_else(|| format!("token '{content}' could not be added"))
    }

    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, String> {
        let encoding = self.inner.encode_fast(text, add_special);
        Ok(encoding.map_err(|e| e.to_string())?.get_ids().to_vec())
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, String> {
        self.inner
            .decode(ids, skip_special)
            .map_err(|e| e.to_string())
    }

    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}
