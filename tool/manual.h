/* manual.h - the table of commands, as help and as part of the manual page. */
#pragma once
#include "tool/tool.h"

#include <stdio.h>

void verb_explain(const struct verb *v, FILE *to);
void overview(FILE *to);
