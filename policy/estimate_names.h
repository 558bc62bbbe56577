/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* estimate_names - the names in bodies that decide on tokens, in whatever case and however escaped:
 * servers written in Go read them like that. */

#include "gateway/base/text.h"

/* Names that mean something, in keys and in values of "type". */
enum name {
    NAME_OTHER,
    NAME_TYPE,
    NAME_MIME,   /* media_type, mimeType, mime_type, format */
    NAME_FORMAT, /* top: Ollama's schema of the answer; below: NAME_MIME */
    NAME_DATA,   /* what may be base64 */
    NAME_URL,    /* of a picture or a file; may be a data: URL */
    NAME_OPAQUE, /* the client's own structures below */
    NAME_INPUT,  /* top: what is said; below: arguments of a tool */
    NAME_TEXTS,  /* top: what is said */
    NAME_SYSTEM, /* top: what is said before everything */
    NAME_CONTENTS,
    NAME_TOOLS,
    NAME_SCHEMA, /* top: what the answer shall be like */
    NAME_PROMPT,
    NAME_REFERS,
    NAME_AUDIO,
    NAME_QUIET,   /* not said to the model as such */
    NAME_SEALED,  /* thoughts of earlier turns that are read again: about 6 bytes a token */
    NAME_THOUGHT, /* true: what is in this object was thought in an earlier turn */
    NAME_SERVER_TOOL,
    NAME_REGION,
    NAME_MANAGEMENT,  /* of the context */
    NAME_KEEPS,       /* how long something is to be cached */
    NAME_SEARCH_TOOL, /* the same, and it searches */
    NAME_MAX_USES,
    NAME_MAX_CALLS,
    NAME_PICTURE, /* key or type */
    NAME_IMAGE,   /* a picture, where it is what is embedded */
    NAME_IMAGES,  /* Ollama's: a list of base64 */
    NAME_SOUND,
    NAME_FILE,
    NAME_INLINE, /* inlineData, and fileData, which is elsewhere */
    NAME_REFERENCE_TYPE,
    NAME_CLIENT_TOOL,
    NAME_BUILT_IN_TOOL,
    NAME_ROLE,
    NAME_THINKING,      /* top: does the model think?; below: what it thought, not said */
    NAME_CHOICE,        /* top: which tools it may or must use */
    NAME_MODE,          /* in there */
    NAME_CITATIONS,     /* of a document: providers describe how to cite */
    NAME_CALL,          /* of a tool, or what the tool answered */
    NAME_TURN,          /* type: the same */
    NAME_DECLARATIONS,  /* Gemini's list of tools */
    NAME_GENERATION,    /* top: Gemini's settings */
    NAME_ANSWER_SCHEMA, /* in there: what the answer shall be like */
};

enum mime { MIME_NONE, MIME_PICTURE, MIME_SOUND, MIME_TEXT, MIME_OTHER };

enum { NAME_MAX = 40, NAME_ROOM = NAME_MAX + 4 };

/* Fill in where the names are; any thread, and before anything is asked. */
void names_prepare(void);
/* Of the inside of a key, and of a string that is a type. Any thread. */
enum name key_name(struct text inside);
enum name type_name(struct text inside);
/* Is it the type of a tool that searches: "web_search_20250305"? */
bool type_searches(struct text inside);
enum mime mime_of(struct text inside);

/* A short string without its escapes; who hides a name in escapes means it all the same. What is
 * too long is no name. */
struct text name_plain(struct text inside, char room[NAME_ROOM]);
