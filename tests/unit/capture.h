/* What a test writes to fd 2. */
#pragma once

/* From now on fd 2 is a file that the test reads with captured().  Before log_init(). */
void capture_start(void);

/* All of it so far. */
const char *captured(void);

/* How many lines that is. */
int captured_lines(void);
