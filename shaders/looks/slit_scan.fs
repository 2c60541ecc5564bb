/*{
  "ISFVSN": "2.0",
  "DESCRIPTION": "Every line of the picture shows another moment: what moves bends, what rests stays",
  "CREDIT": "l2s-node",
  "CATEGORIES": ["Time"],
  "INPUTS": [
    {"NAME": "inputImage", "TYPE": "image"},
    {"NAME": "amount", "LABEL": "0 the picture, 1 the scan", "TYPE": "float", "DEFAULT": 1.0, "MIN": 0, "MAX": 1},
    {"NAME": "seconds", "LABEL": "how far back it reaches", "TYPE": "float", "DEFAULT": 1.5, "MIN": 0.1, "MAX": 8},
    {"NAME": "order", "LABEL": "where the past lies", "TYPE": "long", "VALUES": [0, 1, 2, 3, 4], "LABELS": ["sides", "right", "top", "rings", "dark"], "DEFAULT": 0},
    {"NAME": "backwards", "LABEL": "the past where the present was", "TYPE": "bool", "DEFAULT": false},
    {"NAME": "clear", "LABEL": "forget the past", "TYPE": "event"}
  ],
  "PASSES": [
    {"TARGET": "clock", "WIDTH": "1", "HEIGHT": "1", "FLOAT": true, "PERSISTENT": true},
    {"TARGET": "past", "WIDTH": "6 * ceil($WIDTH / 4.0)", "HEIGHT": "6 * ceil($HEIGHT / 4.0)", "PERSISTENT": true},
    {}
  ]
}*/

// The past is a sheet of 6 x 6 pictures at a quarter of the size, each of them a moment, written round and round. That
// is no coarser than what a world dreams up, and moments between two are blended.
// clock: x the moment that is written now, counted on (as a whole and a part); y how many were written in this frame.

const float SIDE = 6.0;
const float MOMENTS = SIDE * SIDE;

vec3 moment(float number, vec2 at) {
    float cell = mod(number, MOMENTS);
    vec2 corner = vec2(mod(cell, SIDE), floor(cell / SIDE));
    vec2 inset = 0.5 * SIDE / IMG_SIZE(past);
    return IMG_NORM_PIXEL(past, (corner + clamp(at, inset, 1.0 - inset)) / SIDE).rgb;
}

// 0 now … 1 the farthest past
float depth(vec2 at, vec3 seen) {
    float d = abs(at.x - 0.5) * 2.0;
    if (order == 1) d = at.x;
    if (order == 2) d = at.y;
    if (order == 3) d = length((at - 0.5) * vec2(RENDERSIZE.x / RENDERSIZE.y, 1.0)) / length(vec2(RENDERSIZE.x / RENDERSIZE.y, 1.0) * 0.5);
    if (order == 4) d = 1.0 - dot(seen, vec3(0.2126, 0.7152, 0.0722));
    return backwards ? 1.0 - d : d;
}

void main() {
    vec2 at = isf_FragNormCoord;
    bool first = FRAMEINDEX == 0 || clear;
    vec4 state = IMG_NORM_PIXEL(clock, vec2(0.5));
    float step_seconds = seconds / (MOMENTS - 3.0);
    if (PASSINDEX == 0) {
        float now = mod(state.x, MOMENTS) + min(TIMEDELTA / step_seconds, MOMENTS);
        gl_FragColor = first ? vec4(0.0) : vec4(now, floor(now) - floor(mod(state.x, MOMENTS)), 0.0, 1.0);
    } else if (PASSINDEX == 1) {
        vec2 cell = floor(at * SIDE);
        float behind = mod(floor(state.x) - (cell.x + cell.y * SIDE), MOMENTS);
        bool written = first || behind < state.y;
        gl_FragColor = written ? IMG_NORM_PIXEL(inputImage, fract(at * SIDE)) : IMG_NORM_PIXEL(past, at);
    } else {
        vec4 seen = IMG_NORM_PIXEL(inputImage, at);
        float back = clamp(depth(at, seen.rgb), 0.0, 1.0) * (MOMENTS - 3.0);
        float wanted = state.x - back;
        float older = floor(wanted);
        vec3 young = older + 1.0 > floor(state.x) ? seen.rgb : moment(older + 1.0, at);
        vec3 scan = mix(moment(older, at), young, wanted - older);
        scan = mix(seen.rgb, scan, smoothstep(0.0, 2.0, back));
        gl_FragColor = vec4(mix(seen.rgb, scan, amount), seen.a);
    }
}
