//! The C interface of `common/text/text_ffi.h`; the comments there are the contract.
//!
//! Every entry point runs inside `guarded`, which turns an error or a panic into a string: no
//! unwinding crosses into C++. Handles are immutable after loading, so that they may be shared
//! between threads.

// What callers must keep to is said once, in text_ffi.h, for all functions.
#![allow(clippy::missing_safety_doc, clippy::too_many_arguments)]

mod chat_template;
mod tokenizer;

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

use chat_template::ChatTemplate;
use tokenizer::TextTokenizer;

/// Memory made by Rust; C++ gives it back with `dtrpo_text_free`.
#[repr(C)]
pub struct DtrpoTextBuffer {
    data: *mut u8,
    size: usize,
}

impl DtrpoTextBuffer {
    fn set(&mut self, bytes: Vec<u8>) {
        let boxed = bytes.into_boxed_slice();
        self.size = boxed.len();
        self.data = Box::into_raw(boxed).cast();
    }

    fn set_ids(&mut self, ids: &[u32]) {
        self.set(ids.iter().flat_map(|id| id.to_ne_bytes()).collect());
    }
}

fn panic_text(cause: Box<dyn Any + Send>) -> String {
    let text = cause
        .downcast_ref::<&str>()
        .map(|s| s.to_string())
        .or_else(|| cause.downcast_ref::<String>().cloned());
    format!("internal panic: {}", text.unwrap_or_default())
}

/// Runs `body`; writes its error, if any, to `error`. True on success.
unsafe fn guarded(error: *mut DtrpoTextBuffer, body: impl FnOnce() -> Result<(), String>) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|p| Err(panic_text(p)));
    match outcome {
        Ok(()) => true,
        Err(message) => {
            (*error).set(message.into_bytes());
            false
        }
    }
}

unsafe fn bytes<'a>(data: *const u8, size: usize) -> &'a [u8] {
    if size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

unsafe fn text<'a>(what: &str, data: *const u8, size: usize) -> Result<&'a str, String> {
    std::str::from_utf8(bytes(data, size)).map_err(|e| format!("{what} is not UTF-8: {e}"))
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_text_free(buffer: *mut DtrpoTextBuffer) {
    if !(*buffer).data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
            (*buffer).data,
            (*buffer).size,
        )));
    }
    (*buffer).data = std::ptr::null_mut();
    (*buffer).size = 0;
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_tokenizer_load(
    json: *const u8,
    json_size: usize,
    out: *mut *mut TextTokenizer,
    error: *mut DtrpoTextBuffer,
) -> bool {
    guarded(error, || {
        let loaded = TextTokenizer::from_json(bytes(json, json_size))?;
        *out = Box::into_raw(Box::new(loaded));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_tokenizer_destroy(tokenizer: *mut TextTokenizer) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_tokenizer_add_token(
    tokenizer: *mut TextTokenizer,
    content: *const u8,
    content_size: usize,
    special: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    single_word: bool,
    id: *mut u32,
    error: *mut DtrpoTextBuffer,
) -> bool {
    guarded(error, || {
        let content = text("token", content, content_size)?;
        let token = tokenizers::AddedToken::from(content, special)
            .lstrip(lstrip)
            .rstrip(rstrip)
            .normalized(normalized)
            .single_word(single_word);
        *id = (*tokenizer).add_token(token)?;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_tokenizer_encode(
    tokenizer: *const TextTokenizer,
    input: *const u8,
    input_size: usize,
    add_special: bool,
    ids: *mut DtrpoTextBuffer,
    error: *mut DtrpoTextBuffer,
) -> bool {
    guarded(error, || {
        let input = text("text", input, input_size)?;
        (*ids).set_ids(&(*tokenizer).encode(input, add_special)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_tokenizer_decode(
    tokenizer: *const TextTokenizer,
    ids: *const u32,
    count: usize,
    skip_special: bool,
    out: *mut DtrpoTextBuffer,
    error: *mut DtrpoTextBuffer,
) -> bool {
    guarded(error, || {
        let ids = if count == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(ids, count)
        };
        (*out).set((*tokenizer).decode(ids, skip_special)?.into_bytes());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_tokenizer_token_to_id(
    tokenizer: *const TextTokenizer,
    token: *const u8,
    token_size: usize,
    id: *mut u32,
) -> bool {
    let found = text("token", token, token_size)
        .ok()
        .and_then(|token| (*tokenizer).token_to_id(token));
    if let Some(found) = found {
        *id = found;
    }
    found.is_some()
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_tokenizer_id_to_token(
    tokenizer: *const TextTokenizer,
    id: u32,
    token: *mut DtrpoTextBuffer,
) -> bool {
    match (*tokenizer).id_to_token(id) {
        Some(found) => {
            (*token).set(found.into_bytes());
            true
        }
        None => false,
    }
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_tokenizer_vocab_size(tokenizer: *const TextTokenizer) -> usize {
    (*tokenizer).vocab_size()
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_template_load(
    source: *const u8,
    source_size: usize,
    out: *mut *mut ChatTemplate,
    error: *mut DtrpoTextBuffer,
) -> bool {
    guarded(error, || {
        let source = text("template", source, source_size)?;
        *out = Box::into_raw(Box::new(ChatTemplate::compile(source)?));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_template_destroy(template: *mut ChatTemplate) {
    if !template.is_null() {
        drop(Box::from_raw(template));
    }
}

#[no_mangle]
pub unsafe extern "C" fn dtrpo_template_render(
    template: *const ChatTemplate,
    context_json: *const u8,
    context_size: usize,
    now_unix_seconds: i64,
    out: *mut DtrpoTextBuffer,
    error: *mut DtrpoTextBuffer,
) -> bool {
    guarded(error, || {
        let context = bytes(context_json, context_size);
        (*out).set((*template).render(context, now_unix_seconds)?.into_bytes());
        Ok(())
    })
}
