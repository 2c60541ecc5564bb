/*{
  "ISFVSN": "2.0",
  "DESCRIPTION": "One slice of the picture, mirrored round a centre and slowly turning",
  "CREDIT": "l2s-node",
  "CATEGORIES": ["Geometry"],
  "INPUTS": [
    {"NAME": "inputImage", "TYPE": "image"},
    {"NAME": "amount", "LABEL": "0 the picture, 1 the mirrors", "TYPE": "float", "DEFAULT": 1.0, "MIN": 0, "MAX": 1},
    {"NAME": "mirrors", "LABEL": "pairs of slices", "TYPE": "long", "DEFAULT": 6, "MIN": 1, "MAX": 24},
    {"NAME": "centre", "LABEL": "round which it turns", "TYPE": "point2D", "DEFAULT": [0.5, 0.5], "MIN": [0, 0], "MAX": [1, 1]},
    {"NAME": "look_at", "LABEL": "where in the picture the slice is taken", "TYPE": "point2D", "DEFAULT": [0.5, 0.42], "MIN": [0, 0], "MAX": [1, 1]},
    {"NAME": "zoom", "LABEL": "how close the slice is seen", "TYPE": "float", "DEFAULT": 1.1, "MIN": 0.25, "MAX": 4},
    {"NAME": "spin", "LABEL": "turns a minute of the whole", "TYPE": "float", "DEFAULT": 0.5, "MIN": -20, "MAX": 20},
    {"NAME": "tumble", "LABEL": "turns a minute of the slice within", "TYPE": "float", "DEFAULT": 1.0, "MIN": -20, "MAX": 20},
    {"NAME": "restart", "LABEL": "both from where they began", "TYPE": "event"}
  ],
  "PASSES": [
    {"TARGET": "phases", "WIDTH": "1", "HEIGHT": "1", "FLOAT": true, "PERSISTENT": true},
    {}
  ]
}*/

// The angles are kept and moved on, so that a change of speed is no jump.

const float TURN = 6.28318530718;

mat2 turned(float turns) {
    float angle = turns * TURN;
    return mat2(cos(angle), sin(angle), -sin(angle), cos(angle));
}

vec2 mirrored(vec2 p) { return 1.0 - abs(mod(p, 2.0) - 1.0); }

void main() {
    if (PASSINDEX == 0) {
        vec2 turns = IMG_NORM_PIXEL(phases, vec2(0.5)).xy + vec2(spin, tumble) * TIMEDELTA / 60.0;
        gl_FragColor = FRAMEINDEX == 0 || restart ? vec4(0.0) : vec4(fract(turns), 0.0, 1.0);
        return;
    }
    vec2 turns = IMG_NORM_PIXEL(phases, vec2(0.5)).xy;
    vec2 aspect = vec2(RENDERSIZE.x / RENDERSIZE.y, 1.0);
    vec2 p = turned(turns.x) * ((isf_FragNormCoord - centre) * aspect);
    float slice = TURN / float(mirrors);
    float angle = abs(mod(atan(p.y, p.x) + slice * 0.5, slice) - slice * 0.5);
    vec2 q = length(p) * vec2(cos(angle), sin(angle)) / zoom;
    vec2 at = mirrored((turned(turns.y) * q) / aspect + look_at);
    vec4 seen = IMG_THIS_PIXEL(inputImage);
    gl_FragColor = mix(seen, IMG_NORM_PIXEL(inputImage, at), amount);
}
