/* SPDX-License-Identifier: MIT
 * What the commands tell of a finished calibration: what it is of, and how its experts were used. */
#ifndef PARE_CLI_CALIBRATION_TEXT_H
#define PARE_CLI_CALIBRATION_TEXT_H

#include "base/error.h"

/* FOLDER/calibration.json as text, or as it is (schemas/calibration.json). */
int print_calibration(const char *folder, int json, struct error *e);

#endif
