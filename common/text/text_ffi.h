// The C interface of the Rust library in rust/ (crates tokenizers and minijinja). Only tokenizer.cc
// and chat_template.cc include this.
//
// Thread safety: loading and changing a handle belongs to one thread; after that, functions on a
// pointer to const may run on many threads at once.
//
// Ownership: a buffer that a call filled is freed with dtrpo_text_free, a handle with its destroy
// function; inputs are borrowed for the call. Buffers passed in must be zeroed.
//
// Errors: a function returns false and fills `error` with one line of UTF-8. Nothing throws or
// unwinds through this boundary; a panic in Rust becomes such an error.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern "C" {

struct DtrpoTextBuffer {
  uint8_t* data;
  size_t size;
};
void dtrpo_text_free(DtrpoTextBuffer* buffer);

struct DtrpoTokenizer;
// `json`: the bytes of a tokenizer.json. Its truncation and padding settings are dropped.
bool dtrpo_tokenizer_load(const char* json, size_t json_size, DtrpoTokenizer** out,
                          DtrpoTextBuffer* error);
void dtrpo_tokenizer_destroy(DtrpoTokenizer* tokenizer);
// Adds a token that the tokenizer doesn't know; `id` is the one it has then.
bool dtrpo_tokenizer_add_token(DtrpoTokenizer* tokenizer, const char* content, size_t content_size,
                               bool special, bool lstrip, bool rstrip, bool normalized,
                               bool single_word, uint32_t* id, DtrpoTextBuffer* error);
// `ids` gets uint32_t in the machine's byte order. Special tokens inside the text become their ids.
bool dtrpo_tokenizer_encode(const DtrpoTokenizer* tokenizer, const char* text, size_t text_size,
                            bool add_special, DtrpoTextBuffer* ids, DtrpoTextBuffer* error);
// Ids that the tokenizer doesn't know are left out; broken UTF-8 becomes U+FFFD.
bool dtrpo_tokenizer_decode(const DtrpoTokenizer* tokenizer, const uint32_t* ids, size_t count,
                            bool skip_special, DtrpoTextBuffer* text, DtrpoTextBuffer* error);
// False: unknown.
bool dtrpo_tokenizer_token_to_id(const DtrpoTokenizer* tokenizer, const char* token,
                                 size_t token_size, uint32_t* id);
bool dtrpo_tokenizer_id_to_token(const DtrpoTokenizer* tokenizer, uint32_t id,
                                 DtrpoTextBuffer* token);
// Added tokens included.
size_t dtrpo_tokenizer_vocab_size(const DtrpoTokenizer* tokenizer);

struct DtrpoTemplate;
bool dtrpo_template_load(const char* source, size_t source_size, DtrpoTemplate** out,
                         DtrpoTextBuffer* error);
void dtrpo_template_destroy(DtrpoTemplate* chat_template);
// `context_json`: an object with the template's variables. `now_unix_seconds` is what strftime_now
// shows, in UTC.
bool dtrpo_template_render(const DtrpoTemplate* chat_template, const char* context_json,
                           size_t context_size, int64_t now_unix_seconds, DtrpoTextBuffer* text,
                           DtrpoTextBuffer* error);

}  // extern "C"
