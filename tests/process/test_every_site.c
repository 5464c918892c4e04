/* timeout: 1200 */
#include "tests/process/test_every_instruction.c" /* NOLINT(bugprone-suspicious-include) */
