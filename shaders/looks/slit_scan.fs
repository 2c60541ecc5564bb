/*{
  "ISFVSN": "2.0",
  "DESCRIPTION": "One line of the picture is written into time: it streams away from a slit, or a line sweeps over a still",
  "CREDIT": "l2s-node",
  "CATEGORIES": ["Time"],
  "INPUTS": [
    {"NAME": "inputImage", "TYPE": "image"},
    {"NAME": "amount", "LABEL": "0 the picture, 1 the scan", "TYPE": "float", "DEFAULT": 1.0, "MIN": 0, "MAX": 1},
    {"NAME": "mode", "LABEL": "a line sweeps, or all streams away from one", "TYPE": "long", "VALUES": [0, 1], "LABELS": ["sweep", "stream"], "DEFAULT": 1},
    {"NAME": "upright", "LABEL": "the line stands, else it lies", "TYPE": "bool", "DEFAULT": true},
    {"NAME": "slit", "LABEL": "where all streams away from", "TYPE": "float", "DEFAULT": 0.5, "MIN": 0, "MAX": 1},
    {"NAME": "seconds", "LABEL": "that it takes from one side to the other", "TYPE": "float", "DEFAULT": 6, "MIN": 0.5, "MAX": 60},
    {"NAME": "edge", "LABEL": "softness of the seam", "TYPE": "float", "DEFAULT": 0.04, "MIN": 0, "MAX": 0.3},
    {"NAME": "clear", "LABEL": "start from the whole picture again", "TYPE": "event"}
  ],
  "PASSES": [
    {"TARGET": "clock", "WIDTH": "1", "HEIGHT": "1", "FLOAT": true, "PERSISTENT": true},
    {"TARGET": "scan", "PERSISTENT": true},
    {}
  ]
}*/

// clock: x where the line is, y how many whole pixels it has moved in this frame, z the part of a pixel that is owed.
// Only whole pixels are moved: parts of them would blur a little more with every frame.

float along(vec2 at) { return upright ? at.x : at.y; }

vec2 moved(vec2 at, float by) { return upright ? vec2(at.x + by, at.y) : vec2(at.x, at.y + by); }

void main() {
    vec2 at = isf_FragNormCoord;
    vec4 state = IMG_NORM_PIXEL(clock, vec2(0.5));
    float pixels = along(IMG_SIZE(inputImage));
    if (PASSINDEX == 0) {
        float owed = state.z + pixels * TIMEDELTA / seconds;
        float steps = floor(owed);
        gl_FragColor = FRAMEINDEX == 0 || clear ? vec4(0.0) : vec4(fract(state.x + steps / pixels), steps, owed - steps, 1.0);
        return;
    }
    vec4 seen = IMG_NORM_PIXEL(inputImage, at);
    float x = along(at);
    float by = state.y / pixels;
    if (PASSINDEX == 1) {
        if (FRAMEINDEX == 0 || clear) {
            gl_FragColor = seen;
        } else if (mode == 0) {
            gl_FragColor = mod(state.x - x, 1.0) <= by + 0.5 / pixels ? seen : IMG_NORM_PIXEL(scan, at);
        } else {
            float side = x < slit ? -1.0 : 1.0;
            bool fresh = abs(x - slit) <= by + 0.5 / pixels;
            gl_FragColor = fresh ? IMG_NORM_PIXEL(inputImage, at) : IMG_NORM_PIXEL(scan, moved(at, -side * by));
        }
        return;
    }
    vec4 written = IMG_NORM_PIXEL(scan, at);
    float near = mode == 0 ? 0.0 : smoothstep(max(edge, 0.0001), 0.0, abs(x - slit));
    gl_FragColor = mix(seen, mix(written, seen, near), amount);
}
