/* Looked for by lib, and included by nothing here. */
